import json
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.helpers.complete_scores import (
    ANY_AMOUNT,
    FAR,
    NON_TUMOUR,
    NON_VIABLE,
    NONE,
    SHIPPED,
    VIABLE,
    bounds,
    measured,
    random_prob,
    scores,
    settings,
    stores,
    thresholds,
)
from wsi_necrosis.errors import StoreError
from wsi_necrosis.model.quantity import EndOfScale, EstimatorFigures, Quantity
from wsi_necrosis.quantify.percentage import leading_estimator, measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount
from wsi_necrosis.tiling.quality import Measure


@given(stores(), thresholds)
def test_results_are_consistent_and_finite(store: Scores, wanted: QuantifySettings) -> None:
    score = measure(store, wanted)
    text = json.dumps(score.to_dict(), allow_nan=False)
    assert (score.status == "scored") == (score.reason is None) == (score.percent_viable is not None)
    assert (score.interval is None) == (score.interval_reason is not None)
    if score.percent_viable is not None and score.percent_viable_if_abstained is not None:
        assert score.percent_viable + score.percent_necrosis == pytest.approx(100)
        assert isinstance(json.loads(text)["percent_viable"], float)
        low, high = bounds(score)
        assert 0 <= low <= score.percent_viable + 1e-9
        assert score.percent_viable - 1e-9 <= high <= 100 + 1e-9


@given(stores(some_fit=True), st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.5]))
def test_bounds_hold_the_percentage_whatever_unfit_cells_are(store: Scores, seed: int, spread: float) -> None:
    always = settings(min_tumour_mm2=0.0, not_evaluable_top_prob=0.0, max_unreadable_share=1.0)
    found = measure(store, always.model_copy(update={"max_ood_share": 1.0, "max_defocus_share": 1.0}))
    assume(found.percent_viable_if_abstained is not None)
    rng = np.random.default_rng(seed)
    other = rng.dirichlet((spread,) * 3, size=store.state.shape).astype(np.float32)
    unfit = (store.ood > 1) | (store.quality[..., Measure.DEFOCUS] > 1)
    prob = np.where(unfit[..., None], other, store.prob)
    trusting = always.model_copy(update={"max_ood": np.inf, "max_defocus": np.inf})
    truth = measure(replace(store, prob=prob), trusting)
    low, high = bounds(found)
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


@pytest.mark.parametrize(
    ("unreadable", "share", "reason"),
    [
        (0, 0.2, None),
        (1000, 0.2, None),
        (1001, 0.2, "unreadable"),
        (1000, 0.1, "unreadable"),
        (9000, 1.0, None),
    ],
)
def test_a_slide_of_which_much_tissue_is_unreadable_is_not_evaluable(
    unreadable: int, share: float, reason: str | None
) -> None:
    store = scores(np.array([[VIABLE, NON_VIABLE, NONE]]), np.array([[2000, 2000, 0]]))
    store.px[0, 2, PixelCount.UNREADABLE] = unreadable
    store.state[0, 2] = CellState.UNREADABLE
    score = measure(store, settings(max_unreadable_share=share))
    assert score.reason == reason
    assert (score.percent_viable is None) == (reason is not None)
    assert score.ledger.unreadable == unreadable


def test_where_no_tissue_could_be_read_the_reason_is_that() -> None:
    store = scores(np.array([[NONE]]), np.array([[0]]))
    assert measure(store, SHIPPED).reason == "no_tissue"
    store.px[0, 0, PixelCount.UNREADABLE] = 50
    assert measure(store, SHIPPED).reason == "unreadable"


def test_percent_viable_is_of_soft_areas() -> None:
    prob = np.array([[(0.2, 0.2, 0.6), (0.1, 0.7, 0.2), NON_TUMOUR]])
    tissue = np.array([[1000, 3000, 500]])
    score = measure(scores(prob, tissue), settings(estimator="soft"))
    viable, non_viable = 0.6 * 1 + 0.2 * 3, 0.2 * 1 + 0.7 * 3  # mm2
    assert score.status == "scored"
    assert score.percent_viable == pytest.approx(100 * viable / (viable + non_viable), rel=1e-6)
    assert score.percent_viable_by_class == pytest.approx(25)
    assert score.viable_mm2 == pytest.approx(viable, rel=1e-6)
    assert score.tumour_mm2 == pytest.approx(viable + non_viable, rel=1e-6)
    area = score.ledger.area_mm2()
    assert [area[f"{name}_by_class"] for name in ("viable", "non_viable", "non_tumour")] == pytest.approx(
        [1.0, 3.0, 0.5]
    )
    assert area["viable_soft"] == pytest.approx(viable, rel=1e-6)
    assert area["background"] == pytest.approx(3 * 7 * 0.001)


@pytest.mark.parametrize("estimator", ["soft", "by_class"])
def test_no_cell_of_tumour_is_not_evaluable_by_either_estimator(estimator: str) -> None:
    score = measure(scores(np.full((40, 40, 3), (0.6, 0.2, 0.2))), settings(estimator=estimator))
    expected = "too_little_tumour" if estimator == "soft" else "no_tumour"
    assert (score.reason, score.percent_viable_soft) == (expected, None)
    assert score.tumour_mm2 == pytest.approx(64.0 if estimator == "soft" else 0.0, rel=1e-6)


@pytest.mark.parametrize("kind", [VIABLE, NON_VIABLE])
def test_too_little_tumour_is_never_0_or_100_percent(kind: tuple[float, ...]) -> None:
    prob = np.array([[kind, NON_TUMOUR]])
    score = measure(scores(prob, np.array([[999, 1500]])), SHIPPED)
    assert (score.status, score.reason) == ("not_evaluable", "too_little_tumour")
    assert score.percent_viable is score.percent_necrosis is score.percent_viable_by_class is None
    assert score.percent_viable_if_abstained is score.interval is None
    assert score.interval_reason
    assert score.tumour_mm2 == pytest.approx(0.999)
    enough = measure(scores(prob, np.array([[1000, 1500]])), SHIPPED)
    assert enough.percent_viable == pytest.approx(100.0 if kind == VIABLE else 0.0)


def test_tumour_of_no_area_is_not_evaluable_even_without_a_minimum() -> None:
    score = measure(scores(np.full((2, 2, 3), NON_TUMOUR)), ANY_AMOUNT)
    assert (score.reason, score.percent_viable) == ("no_tumour", None)


@pytest.mark.parametrize(
    ("tumour", "other", "reason"),
    [
        (900, 2099, "too_little_tumour"),
        (140, 2860, "no_tumour"),
        (160, 2840, "too_little_tumour"),
        (0, 2999, "too_little_tumour"),
    ],
)
def test_tissue_enough_of_which_hardly_any_is_tumour_holds_none(tumour: int, other: int, reason: str) -> None:
    """From 3 mm2 of tissue on, of which less than 5 % is tumour; with less tissue nothing is said of its kind."""
    score = measure(scores(np.array([[VIABLE, NON_TUMOUR]]), np.array([[tumour, other]])), SHIPPED)
    assert (score.status, score.reason, score.percent_viable) == ("not_evaluable", reason, None)


def test_tissue_that_abstains_is_not_said_to_hold_no_tumour() -> None:
    """Uncertain, or unlike the training tiles: of no class, so that nothing is known of it."""
    unsure = np.full((4, 4, 3), (0.1, 0.3, 0.6))
    assert measure(scores(unsure), settings(max_uncertainty=0.0)).reason == "too_little_tumour"
    unlike = scores(np.array([[NON_TUMOUR, VIABLE]]), np.array([[1000, 3000]]), ood=np.array([[0, FAR]]))
    assert measure(unlike, settings(max_ood_share=1.0)).reason == "too_little_tumour"


def test_no_tissue() -> None:
    score = measure(scores(np.full((3, 2, 3), np.nan)), SHIPPED)
    assert (score.status, score.reason, score.percent_viable) == ("not_evaluable", "no_tissue", None)
    assert score.ledger.background == score.ledger.total == 6 * 7


def test_bounds_count_uncertain_cells_that_may_be_tumour() -> None:
    sure, unsure = (0.0, 0.02, 0.98), (0.3, 0.35, 0.35)
    unsure_normal = (0.52, 0.24, 0.24)
    prob = np.array([[sure, NON_VIABLE, unsure, unsure_normal]])
    score = measure(
        scores(prob, np.array([[2000, 2000, 1000, 700]])), settings(max_uncertainty=0.5, estimator="soft")
    )
    viable, non_viable = 2 * 0.98, 2 * 0.02 + 2
    assert score.ledger.abstained == 1700
    assert score.percent_viable == pytest.approx(100 * viable / 4, rel=1e-6)
    assert bounds(score) == pytest.approx((100 * viable / 5, 100 * (viable + 1) / 5), rel=1e-6)
    assert score.ledger.soft_mm2[1] == pytest.approx(non_viable, rel=1e-6)


def test_bounds_count_ood_cells_in_full() -> None:
    """Whatever they look like, and also where they are uncertain and look like normal tissue."""
    unsure_normal = (0.52, 0.24, 0.24)
    for prob_ood, limit in product((VIABLE, NON_VIABLE, NON_TUMOUR, unsure_normal), (0.5, 1.0)):
        prob = np.array([[VIABLE, NON_VIABLE, prob_ood, NON_TUMOUR]])
        store = scores(prob, np.array([[1000, 3000, 1000, 500]]), ood=np.array([[0, 1, 1.01, 0]]))
        score = measure(store, settings(max_uncertainty=limit))
        assert (score.status, score.percent_viable) == ("scored", pytest.approx(25))
        assert bounds(score) == pytest.approx((100 * 1 / 5, 100 * 2 / 5))
        assert score.ledger.abstained == 1000
        assert score.ood_mm2 == pytest.approx(1.0)
        assert score.ledger.area_mm2()["abstained"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("ood_px", "share", "reason"),
    [
        (2000, 0.5, None),  # half of the tissue is not more than half
        (2001, 0.5, "out_of_domain"),
        (1, 0.0, "out_of_domain"),
        (0, 0.0, None),
        (1_000_000, 1.0, None),
    ],
)
def test_too_much_ood_tissue_is_out_of_domain(ood_px: int, share: float, reason: str | None) -> None:
    store = scores(np.array([[VIABLE, NON_VIABLE]]), np.array([[2000, ood_px]]), ood=np.array([[1, FAR]]))
    score = measure(store, settings(max_ood_share=share))
    assert (score.reason, score.status) == (reason, "not_evaluable" if reason else "scored")
    assert score.ood_mm2 == pytest.approx(ood_px * 0.001)
    assert score.tumour_mm2 == pytest.approx(2.0)
    if reason:
        assert score.percent_viable is score.percent_necrosis is score.percent_viable_by_class is None
        assert score.percent_viable_if_abstained is score.interval is None


def test_out_of_domain_comes_after_no_tissue_and_before_too_little_tumour() -> None:
    empty = scores(np.full((2, 2, 3), np.nan), ood=FAR)
    all_ood = scores(np.full((2, 2, 3), VIABLE), ood=FAR)
    some_ood = scores(np.array([[NON_TUMOUR, NON_TUMOUR]]), ood=np.array([[0, FAR]]))
    assert measure(empty, SHIPPED).reason == "no_tissue"
    assert measure(all_ood, SHIPPED).reason == "out_of_domain"
    assert measure(all_ood, settings(max_ood_share=1.0)).reason == "too_little_tumour"
    assert measure(some_ood, settings(max_ood_share=0.4)).reason == "out_of_domain"
    assert measure(some_ood, SHIPPED).reason == "too_little_tumour"


def test_ood_cells_without_tissue_count_for_nothing() -> None:
    store = scores(np.full((1, 2, 3), VIABLE), np.array([[2000, 0]]), ood=np.array([[0, FAR]]))
    score = measure(store, settings(max_ood_share=0.0))
    assert (score.status, score.ood_mm2) == ("scored", 0.0)


def test_a_scored_cell_without_a_distance_is_refused() -> None:
    store = scores(np.full((2, 2, 3), VIABLE))
    ood = store.ood.copy()
    ood[0, 1] = np.nan
    with pytest.raises(StoreError, match=r"1 scored cells hold no probabilities or distances; run with"):
        measure(replace(store, ood=ood), SHIPPED)


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
    terms = ["outside_region", "not_scanned", "unreadable", "background", "abstained"]
    terms += [f"{name}_by_class" for name in ("non_tumour", "non_viable", "viable")]
    assert list(scored["ledger"]["px"]) == terms
    assert list(scored["ledger"]["mm2"])[:8] == terms
    assert scored["ledger"]["total_px"] == sum(scored["ledger"]["px"].values())


BOTH = pytest.mark.parametrize("estimator", ["soft", "by_class"])
FEW_DRAWS = {"min_tumour_mm2": 0.0, "not_evaluable_top_prob": 0.0, "bootstrap_draws": 20}


@given(stores(), st.integers(0, 2**32 - 1))
def test_uncertainty_and_so_the_temperature_changes_nothing_where_none_abstains(
    store: Scores, seed: int
) -> None:
    other = np.random.default_rng(seed).random(store.uncertainty.shape).astype(np.float32)
    uncertainty = np.where(np.isnan(store.uncertainty), np.float32(np.nan), other)
    assert measure(replace(store, uncertainty=uncertainty), ANY_AMOUNT) == measure(store, ANY_AMOUNT)


@BOTH
@given(store=stores())
def test_swapping_viable_and_non_viable_mirrors_the_result(estimator: str, store: Scores) -> None:
    wanted = settings(estimator=estimator, **FEW_DRAWS)
    one, other = measure(store, wanted), measure(replace(store, prob=store.prob[..., [0, 2, 1]]), wanted)
    mirrored = {"no_viable": "no_non_viable", "no_non_viable": "no_viable"}
    if (
        one.finding != "no_viable" or other.finding != "no_viable"
    ):  # a slide without either is no finding of one
        assert other.finding == mirrored.get(str(one.finding))
    assert other.reason == one.reason
    assert other.tumour_mm2 == pytest.approx(one.tumour_mm2)
    if one.percent_viable is not None:
        low, high = bounds(one)
        assert other.percent_viable == pytest.approx(100 - one.percent_viable, abs=1e-9)
        assert bounds(other) == pytest.approx((100 - high, 100 - low), abs=1e-9)


@given(stores(), thresholds)
def test_hard_sums_are_counts_by_area_and_soft_sums_of_certain_cells(
    store: Scores, wanted: QuantifySettings
) -> None:
    hard = measure(store, wanted.model_copy(update={"estimator": "by_class", "not_evaluable_top_prob": 0.0}))
    ledger = hard.ledger
    assert hard.viable_mm2 == pytest.approx(ledger.viable * store.px_mm2)
    assert hard.tumour_mm2 == pytest.approx((ledger.viable + ledger.non_viable) * store.px_mm2)
    if hard.percent_viable is not None:
        share = ledger.viable / (ledger.viable + ledger.non_viable)
        assert hard.percent_viable == hard.percent_viable_by_class == pytest.approx(100 * share)
    certain = np.eye(3, dtype=np.float32)[np.nan_to_num(store.prob).argmax(axis=-1)]
    prob = np.where(np.isnan(store.prob), store.prob, certain)
    soft = measure(replace(store, prob=prob), wanted.model_copy(update={"estimator": "soft"}))
    assert soft.percent_viable == pytest.approx(hard.percent_viable)
    assert (soft.reason, soft.finding) == (hard.reason, hard.finding)


@given(stores())
def test_both_estimators_stand_beside_the_one_that_leads(store: Scores) -> None:
    soft, hard = (measure(store, settings(estimator=each, **FEW_DRAWS)) for each in ("soft", "by_class"))
    assert (soft.percent_viable_soft, soft.percent_viable_by_class) == (
        soft.percent_viable,
        hard.percent_viable,
    )
    assert (hard.percent_viable_soft, hard.percent_viable_by_class) == (
        soft.percent_viable,
        hard.percent_viable,
    )
    assert soft.ledger == hard.ledger


def test_the_settings_name_the_estimator_else_the_model_does() -> None:
    figures = EstimatorFigures(26.0, 0.5, 25.0)
    known = Quantity("by_class", figures, figures)
    assert leading_estimator(SHIPPED, None) == "by_class"
    assert leading_estimator(SHIPPED, known) == "by_class"
    assert leading_estimator(settings(estimator="soft"), known) == "soft"
    assert leading_estimator(settings(estimator="soft"), None) == "soft"


def test_limits_are_those_of_the_estimator_that_leads() -> None:
    blank = EndOfScale(21.0, 38.0, 2)
    known = Quantity(
        "by_class", EstimatorFigures(26.0, 0.5, 25.0), EstimatorFigures(24.0, 0.6, 20.0, blank, None)
    )
    store = scores(np.array([[VIABLE, NON_VIABLE]]), np.array([[1000, 3000]]))
    hard, soft = measure(store, SHIPPED, known), measure(store, settings(estimator="soft"), known)
    assert (hard.limit_of_blank, hard.limit_of_full) == (blank, None)
    assert hard.to_dict()["limit_of_blank"] == {"mean": 21.0, "limit": 38.0, "cases": 2}
    assert [each.code for each in hard.warnings] == ["within_limit_of_blank"]
    assert (soft.limit_of_blank, soft.warnings) == (None, ())


@BOTH
def test_where_no_cell_is_viable_none_was_found_and_there_is_no_interval(estimator: str) -> None:
    prob = random_prob(np.random.default_rng(0), (24, 32))
    prob[..., 1:] = np.sort(prob[..., 1:], axis=-1)[..., ::-1]  # non-viable above viable everywhere
    none = measure(scores(prob), settings(estimator=estimator))
    assert (none.status, none.finding, none.interval) == ("scored", "no_viable", None)
    assert (
        none.interval_reason == "interval: not available (no viable cell: resampled tissue has none either)"
    )
    assert none.percent_viable == (0 if estimator == "by_class" else pytest.approx(18, abs=1))
    mirrored = measure(scores(prob[..., [0, 2, 1]]), settings(estimator=estimator))
    assert (mirrored.finding, mirrored.interval) == ("no_non_viable", None)
    assert "no cell of non-viable tumour" in str(mirrored.interval_reason)


def test_a_viable_cell_that_abstained_or_holds_no_tissue_was_not_found() -> None:
    cells, tissue = np.array([[VIABLE, VIABLE, NON_VIABLE]]), np.array([[500, 0, 2000]])
    assert measure(scores(cells, tissue, ood=np.array([[FAR, 0, 0]])), SHIPPED).finding == "no_viable"
    assert measure(scores(cells, tissue), SHIPPED).finding is None


def test_the_minimum_is_of_the_leading_estimators_area() -> None:
    store = scores(np.array([[(0.6, 0.2, 0.2), NON_VIABLE]]), np.array([[5000, 900]]))
    soft, hard = (measure(store, settings(estimator=each)) for each in ("soft", "by_class"))
    assert (soft.status, soft.tumour_mm2) == ("scored", pytest.approx(2.9))
    assert (hard.reason, hard.tumour_mm2) == ("too_little_tumour", pytest.approx(0.9))


@given(stores(some_fit=True), thresholds, st.floats(0.1, 10))
def test_a_pixel_k_times_as_large_scales_areas_by_k_squared_and_leaves_percentages(
    store: Scores, wanted: QuantifySettings, k: float
) -> None:
    wanted = wanted.model_copy(update={"min_tumour_mm2": 0.0, "bed_min_mm2": 0.0})
    larger = replace(
        store, px_mm2=store.px_mm2 * k**2, grid=replace(store.grid, mpp=store.grid.mpp.scaled(k, k))
    )
    for policy in ("tumour", "tumour_bed"):
        rules = wanted.model_copy(update={"policy": policy})
        one, other = measure(store, rules), measure(larger, rules)
        assert other.ledger.px == one.ledger.px
        assert other.percent_viable == pytest.approx(one.percent_viable)
        assert other.largest_focus_mm == pytest.approx(k * one.largest_focus_mm)
        scaled = {term: area * k**2 for term, area in one.ledger.area_mm2().items()}
        assert other.ledger.area_mm2() == pytest.approx(scaled)
