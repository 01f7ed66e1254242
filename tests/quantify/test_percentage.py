import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from wsi_necrosis.errors import StoreError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.percentage import NecrosisScore, measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel, cell_class
from wsi_necrosis.settings.run import QuantifySettings, load_settings
from wsi_necrosis.tiling.grid import TileGrid

SHIPPED = load_settings().quantify
ANY_AMOUNT = SHIPPED.model_copy(update={"min_tumour_mm2": 0.0})
VIABLE, NON_VIABLE, NON_TUMOUR = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)
NONE = (np.nan, np.nan, np.nan)
FAR = np.float32(1e30)
DISTANCES = (0.0, 0.5, 1.0, float(np.nextafter(np.float32(1), np.float32(2))), 3.0, float(FAR))


def settings(**changes: float) -> QuantifySettings:
    return SHIPPED.model_copy(update=changes)


def scores(
    prob: NDArray[np.float32],
    tissue: NDArray[np.uint32] | int = 100,
    px_mm2: float = 0.001,
    cell_mm: tuple[float, float] = (0.5, 0.5),
    ood: NDArray[np.float32] | float = 0.0,
) -> Scores:
    """A complete store; cells are scored where `prob` is a number."""
    prob = np.asarray(prob, np.float32)
    shape = prob.shape[:2]
    scored = np.isfinite(prob[..., 0])
    px = np.zeros((*shape, 4), np.uint32)
    px[..., 1] = np.where(scored, tissue, 0)
    px[..., 0] = 7
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(prob > 0, prob * np.log(prob), 0 * prob).sum(axis=-1) / np.log(3)
    mpp = Mpp(cell_mm[0] * 10, cell_mm[1] * 10)  # 100 px to a cell
    grid = TileGrid(Box(0, 0, shape[1] * 100, shape[0] * 100), (1.0, 1.0), mpp, 100, 100, 8)
    state = np.where(scored, CellState.SCORED, CellState.NO_TISSUE).astype(np.uint8)
    distance = np.where(scored, ood, np.nan).astype(np.float32)
    return Scores(grid, px_mm2, prob, entropy.astype(np.float32), distance, px, state)


def random_prob(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float32]:
    return rng.dirichlet((0.5, 0.5, 0.5), size=shape).astype(np.float32)


@st.composite
def stores(draw: st.DrawFn) -> Scores:
    """Any complete store: all states, any pixel counts that fit them."""
    shape = draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    state = draw(hnp.arrays(np.uint8, shape, elements=st.integers(0, 3)))
    px = draw(hnp.arrays(np.uint32, (*shape, 4), elements=st.integers(0, 4000)))
    px[..., 1] *= state == CellState.SCORED
    prob = np.where((state == CellState.SCORED)[..., None], random_prob(rng, shape), np.nan)
    store = scores(np.zeros((*shape, 3)))
    uncertainty = np.where(state == CellState.SCORED, rng.random(shape), np.nan).astype(np.float32)
    distance = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from(DISTANCES)))
    ood = np.where(state == CellState.SCORED, distance, np.float32(np.nan))
    return replace(store, prob=prob.astype(np.float32), uncertainty=uncertainty, ood=ood, px=px, state=state)


thresholds = st.builds(
    settings,
    max_uncertainty=st.sampled_from([0.0, 0.3, 1.0]),
    max_ood=st.sampled_from([0.1, 1.0, 2.0, np.inf]),
    max_ood_share=st.sampled_from([0.0, 0.5, 1.0]),
    min_tumour_mm2=st.sampled_from([0.0, 0.001]),
)


@given(stores(), thresholds)
def test_ledger_adds_up_to_the_plane_exactly(store: Scores, wanted: QuantifySettings) -> None:
    score = measure(store, wanted)
    ledger = score.ledger
    scored = store.state == CellState.SCORED
    odd = scored & (store.ood > wanted.max_ood)
    silent = odd | (scored & (store.uncertainty > wanted.max_uncertainty))
    assert ledger.abstained == store.px[silent][:, 1].sum(dtype=int)
    assert score.ood_mm2 == store.px[odd][:, 1].sum(dtype=int) * store.px_mm2
    terms = store.px.reshape(-1, 4).sum(axis=0, dtype=int)
    classed = ledger.non_tumour + ledger.non_viable + ledger.viable
    assert ledger.total == terms.sum()
    assert (ledger.background, ledger.unreadable, ledger.outside_region) == (terms[0], terms[2], terms[3])
    assert ledger.abstained + classed == terms[1]
    assert sum(ledger.soft_mm2) == pytest.approx(classed * store.px_mm2, rel=1e-12, abs=1e-12)


@given(stores(), thresholds)
def test_results_are_consistent_and_finite(store: Scores, wanted: QuantifySettings) -> None:
    score = measure(store, wanted)
    text = json.dumps(score.to_dict(), allow_nan=False)
    assert (score.status == "scored") == (score.reason is None) == (score.percent_viable is not None)
    assert (score.interval is None) == (score.interval_reason is not None)
    if score.percent_viable is not None and score.bounds_percent is not None:
        assert score.percent_viable + score.percent_necrosis == pytest.approx(100)
        assert isinstance(json.loads(text)["percent_viable"], float)
        low, high = score.bounds_percent
        assert 0 <= low <= score.percent_viable + 1e-9
        assert score.percent_viable - 1e-9 <= high <= 100 + 1e-9


@given(stores(), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5]))
def test_bounds_hold_the_percentage_whatever_the_unusual_cells_are(
    store: Scores, seed: int, spread: float
) -> None:
    found = measure(store, settings(min_tumour_mm2=0.0, max_ood_share=1.0))
    assume(found.bounds_percent is not None)
    rng = np.random.default_rng(seed)
    other = rng.dirichlet((spread,) * 3, size=store.state.shape).astype(np.float32)
    prob = np.where((store.ood > 1)[..., None], other, store.prob)
    truth = measure(replace(store, prob=prob), settings(min_tumour_mm2=0.0, max_ood=np.inf))
    low, high = found.bounds_percent
    assert low - 1e-6 <= truth.percent_viable <= high + 1e-6
    assert low - 1e-9 <= found.percent_viable <= high + 1e-9


@given(stores(), st.integers(2, 50), st.floats(1e-7, 10))
def test_percent_does_not_depend_on_the_size_of_pixels(store: Scores, times: int, px_mm2: float) -> None:
    before = measure(store, ANY_AMOUNT)
    after = measure(replace(store, px=store.px * np.uint32(times), px_mm2=px_mm2), ANY_AMOUNT)
    assert after.reason == before.reason
    if before.percent_viable is not None:
        assert after.percent_viable == pytest.approx(before.percent_viable, rel=1e-9, abs=1e-9)
    assert after.ledger.viable == times * before.ledger.viable


def test_areas_weigh_and_soft_sums_lead() -> None:
    prob = np.array([[(0.2, 0.2, 0.6), (0.1, 0.7, 0.2), NON_TUMOUR]])
    tissue = np.array([[1000, 3000, 500]])
    score = measure(scores(prob, tissue), SHIPPED)
    viable, non_viable = 0.6 * 1 + 0.2 * 3, 0.2 * 1 + 0.7 * 3  # mm2
    assert score.status == "scored"
    assert score.percent_viable == pytest.approx(100 * viable / (viable + non_viable), rel=1e-6)
    assert score.percent_viable_hard == pytest.approx(25)
    assert score.viable_mm2 == pytest.approx(viable, rel=1e-6)
    assert score.tumour_mm2 == pytest.approx(viable + non_viable, rel=1e-6)
    area = score.ledger.area_mm2()
    assert (area["viable"], area["non_viable"], area["non_tumour"]) == pytest.approx((1.0, 3.0, 0.5))
    assert area["soft_viable"] == pytest.approx(viable, rel=1e-6)
    assert area["background"] == pytest.approx(3 * 7 * 0.001)


def test_no_hard_tumour_gives_no_hard_percentage() -> None:
    score = measure(scores(np.full((4, 4, 3), (0.6, 0.2, 0.2))), ANY_AMOUNT)
    assert score.percent_viable == pytest.approx(50)
    assert score.percent_viable_hard is None


@pytest.mark.parametrize("kind", [VIABLE, NON_VIABLE])
def test_too_little_tumour_is_never_0_or_100_percent(kind: tuple[float, ...]) -> None:
    prob = np.array([[kind, NON_TUMOUR]])
    score = measure(scores(prob, np.array([[999, 100_000]])), SHIPPED)
    assert (score.status, score.reason) == ("not_evaluable", "too_little_tumour")
    assert score.percent_viable is score.percent_necrosis is score.percent_viable_hard is None
    assert score.bounds_percent is score.interval is None
    assert score.interval_reason
    assert score.tumour_mm2 == pytest.approx(0.999)
    enough = measure(scores(prob, np.array([[1000, 100_000]])), SHIPPED)
    assert enough.percent_viable == pytest.approx(100.0 if kind == VIABLE else 0.0)


def test_tumour_of_no_area_is_not_evaluable_even_without_a_minimum() -> None:
    score = measure(scores(np.full((2, 2, 3), NON_TUMOUR)), ANY_AMOUNT)
    assert (score.reason, score.percent_viable) == ("too_little_tumour", None)


def test_no_tissue() -> None:
    score = measure(scores(np.full((3, 2, 3), np.nan)), SHIPPED)
    assert (score.status, score.reason, score.percent_viable) == ("not_evaluable", "no_tissue", None)
    assert score.ledger.background == score.ledger.total == 6 * 7


def test_unreadable_tissue_is_not_tissue() -> None:
    store = scores(np.array([[NONE, NONE]]))
    px = store.px.copy()
    px[0, 0, 2] = 40
    state = np.array([[CellState.UNREADABLE, CellState.NO_TISSUE]], np.uint8)
    score = measure(replace(store, px=px, state=state), SHIPPED)
    assert (score.reason, score.ledger.unreadable) == ("no_tissue", 40)


def test_bounds_count_uncertain_cells_that_may_be_tumour() -> None:
    sure, unsure = (0.0, 0.02, 0.98), (0.3, 0.35, 0.35)
    unsure_normal = (0.52, 0.24, 0.24)
    prob = np.array([[sure, NON_VIABLE, unsure, unsure_normal]])
    score = measure(scores(prob, np.array([[2000, 2000, 1000, 700]])), settings(max_uncertainty=0.5))
    viable, non_viable = 2 * 0.98, 2 * 0.02 + 2
    assert score.ledger.abstained == 1700
    assert score.percent_viable == pytest.approx(100 * viable / 4, rel=1e-6)
    assert score.bounds_percent == pytest.approx((100 * viable / 5, 100 * (viable + 1) / 5), rel=1e-6)
    assert score.ledger.soft_mm2[1] == pytest.approx(non_viable, rel=1e-6)


def test_bounds_count_unusual_cells_in_full() -> None:
    """Whatever they look like, and also where they are uncertain and look like normal tissue."""
    unsure_normal = (0.52, 0.24, 0.24)
    for odd, limit in product((VIABLE, NON_VIABLE, NON_TUMOUR, unsure_normal), (0.5, 1.0)):
        prob = np.array([[VIABLE, NON_VIABLE, odd, NON_TUMOUR]])
        store = scores(prob, np.array([[1000, 3000, 1000, 500]]), ood=np.array([[0, 1, 1.01, 0]]))
        score = measure(store, settings(max_uncertainty=limit))
        assert (score.status, score.percent_viable) == ("scored", pytest.approx(25))
        assert score.bounds_percent == pytest.approx((100 * 1 / 5, 100 * 2 / 5))
        assert score.ledger.abstained == 1000
        assert score.ood_mm2 == pytest.approx(1.0)
        assert score.ledger.area_mm2()["abstained"] == pytest.approx(1.0)


def test_unusual_tissue_is_part_of_what_abstained() -> None:
    unsure = (0.3, 0.35, 0.35)
    store = scores(
        np.array([[VIABLE, unsure, unsure]]), np.array([[9000, 200, 300]]), ood=np.array([[0, 0, 2]])
    )
    score = measure(store, settings(max_uncertainty=0.5))
    assert score.ledger.abstained == 500
    assert score.ood_mm2 == pytest.approx(0.3)
    assert score.to_dict()["ood_mm2"] == pytest.approx(0.3)
    assert score.bounds_percent == pytest.approx((100 * 9 / 9.5, 100))


@pytest.mark.parametrize(
    ("odd_px", "share", "reason"),
    [
        (2000, 0.5, None),  # half of the tissue is not more than half
        (2001, 0.5, "out_of_domain"),
        (1, 0.0, "out_of_domain"),
        (0, 0.0, None),
        (1_000_000, 1.0, None),
    ],
)
def test_too_much_unusual_tissue_is_out_of_domain(odd_px: int, share: float, reason: str | None) -> None:
    store = scores(np.array([[VIABLE, NON_VIABLE]]), np.array([[2000, odd_px]]), ood=np.array([[1, FAR]]))
    score = measure(store, settings(max_ood_share=share))
    assert (score.reason, score.status) == (reason, "not_evaluable" if reason else "scored")
    assert score.ood_mm2 == pytest.approx(odd_px * 0.001)
    assert score.tumour_mm2 == pytest.approx(2.0)
    if reason:
        assert score.percent_viable is score.percent_necrosis is score.percent_viable_hard is None
        assert score.bounds_percent is score.interval is None


def test_out_of_domain_comes_after_no_tissue_and_before_too_little_tumour() -> None:
    empty = scores(np.full((2, 2, 3), np.nan), ood=FAR)
    all_odd = scores(np.full((2, 2, 3), VIABLE), ood=FAR)
    some_odd = scores(np.array([[NON_TUMOUR, NON_TUMOUR]]), ood=np.array([[0, FAR]]))
    assert measure(empty, SHIPPED).reason == "no_tissue"
    assert measure(all_odd, SHIPPED).reason == "out_of_domain"
    assert measure(all_odd, settings(max_ood_share=1.0)).reason == "too_little_tumour"
    assert measure(some_odd, settings(max_ood_share=0.4)).reason == "out_of_domain"
    assert measure(some_odd, SHIPPED).reason == "too_little_tumour"


def test_unusual_cells_without_tissue_count_for_nothing() -> None:
    store = scores(np.full((1, 2, 3), VIABLE), np.array([[2000, 0]]), ood=np.array([[0, FAR]]))
    score = measure(store, settings(max_ood_share=0.0))
    assert (score.status, score.ood_mm2) == ("scored", 0.0)


def test_unusual_cells_are_in_no_block_of_the_bootstrap() -> None:
    prob = random_prob(np.random.default_rng(0), (24, 32))
    ood = np.zeros((24, 32))
    ood[:8, :8] = FAR
    found = measure(scores(prob, ood=ood), SHIPPED)
    missing = np.where((ood > 0)[..., None], np.nan, prob)
    assert found.interval == measure(scores(missing), SHIPPED).interval
    assert (cell_class(scores(prob, ood=ood), SHIPPED)[:8, :8] == CellLabel.ABSTAINED).all()


def test_a_scored_cell_without_a_distance_is_refused() -> None:
    store = scores(np.full((2, 2, 3), VIABLE))
    ood = store.ood.copy()
    ood[0, 1] = np.nan
    with pytest.raises(StoreError, match=r"1 scored cells hold no probabilities or distances; run with"):
        measure(replace(store, ood=ood), SHIPPED)


def test_nothing_abstains_at_an_uncertainty_of_1() -> None:
    store = scores(np.full((2, 2, 3), 1 / 3))
    store = replace(store, uncertainty=np.full((2, 2), np.nextafter(np.float32(1), np.float32(2))))
    assert measure(store, ANY_AMOUNT).ledger.abstained == 0
    assert measure(store, settings(max_uncertainty=0.99)).ledger.abstained == 400


def measured(blocks: tuple[int, int], **changes: float) -> NecrosisScore:
    """Score of `blocks` (rows, cols) of 4 mm, always of the same cells."""
    prob = random_prob(np.random.default_rng(0), (8 * blocks[0], 8 * blocks[1]))
    return measure(scores(prob), settings(**changes))


def test_interval_takes_blocks_of_4_mm_then_2_mm_then_none() -> None:
    large, small, none = measured((3, 4)), measured((1, 11)), measured((1, 2))
    assert large.interval is not None
    assert (large.interval.block_mm, large.interval.n_blocks) == (4.0, 12)
    assert small.interval is not None
    assert (small.interval.block_mm, small.interval.n_blocks) == (2.0, 44)
    assert none.interval is None
    assert none.interval_reason == "interval: not available (too little tissue)"
    assert none.percent_viable is not None


def test_blocks_without_tumour_do_not_count_towards_the_minimum() -> None:
    prob = np.full((24, 32, 3), NON_TUMOUR)
    prob[:8, :8] = (0.1, 0.4, 0.5)  # one block of 4 mm, four of 2 mm
    assert measure(scores(prob), SHIPPED).interval is None


def test_blocks_are_square_in_mm_where_pixels_are_not() -> None:
    prob = random_prob(np.random.default_rng(0), (16, 16))
    found = measure(scores(prob, cell_mm=(2.0, 1.0)), SHIPPED).interval  # 32 mm wide, 16 mm high
    assert found is not None
    assert (found.block_mm, found.n_blocks) == (4.0, 32)


def test_interval_names_its_target_and_what_it_leaves_out() -> None:
    found = measured((3, 4)).interval
    assert found is not None
    assert found.target.startswith("T2")
    assert "classifier error" in found.covers
    assert "not covered" in found.covers
    assert found.confidence == 0.95


def test_interval_repeats_with_its_seed_and_widens_with_confidence() -> None:
    first, again, other = measured((4, 4)), measured((4, 4)), measured((4, 4), confidence=0.5)
    assert first == again
    assert first.interval is not None
    assert other.interval is not None
    assert first.interval.low < other.interval.low < other.interval.high < first.interval.high
    assert measured((4, 4), seed=1).interval != first.interval


def test_interval_has_the_width_of_the_delta_method() -> None:
    rng = np.random.default_rng(3)
    share = rng.beta(2, 3, size=(10, 10)).repeat(8, axis=0).repeat(8, axis=1)
    prob = np.stack([0 * share, 1 - share, share], axis=-1)
    score = measure(scores(prob), SHIPPED)
    block = share[::8, ::8].ravel()
    half = 1.96 * 100 * block.std(ddof=1) / np.sqrt(block.size)
    assert score.interval is not None
    assert score.percent_viable == pytest.approx(100 * block.mean(), rel=1e-6)
    assert (score.interval.high - score.interval.low) / 2 == pytest.approx(half, rel=0.1)
    assert score.interval.low < 100 * block.mean() < score.interval.high


@given(st.integers(0, 1000))
def test_moving_cells_within_a_block_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob = random_prob(rng, (24, 32))
    moved = prob.copy()
    moved[8:16, 16:24] = rng.permutation(prob[8:16, 16:24].reshape(64, 3)).reshape(8, 8, 3)
    few = settings(bootstrap_draws=50)
    before, after = measure(scores(prob), few), measure(scores(moved), few)
    assert before.interval is not None
    assert after.interval is not None
    assert after.percent_viable == pytest.approx(before.percent_viable)
    assert (after.interval.low, after.interval.high) == pytest.approx(
        (before.interval.low, before.interval.high)
    )


@pytest.mark.parametrize("state", [CellState.NOT_LOOKED, CellState.NO_TISSUE, CellState.UNREADABLE])
def test_tissue_without_a_score_is_an_incomplete_store(state: CellState) -> None:
    store = scores(np.full((2, 3, 3), VIABLE))
    states = store.state.copy()
    states[1, 2] = state
    with pytest.raises(StoreError, match="1 cells with tissue have no score"):
        measure(replace(store, state=states), SHIPPED)


@pytest.mark.parametrize("prob", [NONE, (0.5, 0.5, 0.5), (-0.5, 0.5, 1.0), (np.inf, 0, 0)])
def test_scores_that_are_no_probabilities_are_refused(prob: tuple[float, ...]) -> None:
    store = scores(np.full((2, 2, 3), VIABLE))
    damaged = store.prob.copy()
    damaged[0, 1] = prob
    with pytest.raises(StoreError, match="1 scored cells hold no probabilities"):
        measure(replace(store, prob=damaged), SHIPPED)


def test_keys_have_a_fixed_order() -> None:
    scored, empty = measured((3, 4)).to_dict(), measure(scores(np.full((1, 1, 3), np.nan)), SHIPPED).to_dict()
    assert list(scored) == list(empty)
    assert list(scored)[:4] == ["status", "reason", "policy", "percent_viable"]
    terms = ["outside_region", "unreadable", "background", "abstained", "non_tumour", "non_viable", "viable"]
    assert list(scored["ledger"]["px"]) == terms
    assert list(scored["ledger"]["mm2"])[:7] == terms
    assert scored["ledger"]["total_px"] == sum(scored["ledger"]["px"].values())
