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
    measured,
    scores,
    settings,
    stores,
    thresholds,
)
from wsi_necrosis.errors import StoreError
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings


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
def test_bounds_hold_the_percentage_whatever_the_ood_cells_are(
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


def test_percent_viable_is_of_soft_areas() -> None:
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


def test_bounds_count_ood_cells_in_full() -> None:
    """Whatever they look like, and also where they are uncertain and look like normal tissue."""
    unsure_normal = (0.52, 0.24, 0.24)
    for prob_ood, limit in product((VIABLE, NON_VIABLE, NON_TUMOUR, unsure_normal), (0.5, 1.0)):
        prob = np.array([[VIABLE, NON_VIABLE, prob_ood, NON_TUMOUR]])
        store = scores(prob, np.array([[1000, 3000, 1000, 500]]), ood=np.array([[0, 1, 1.01, 0]]))
        score = measure(store, settings(max_uncertainty=limit))
        assert (score.status, score.percent_viable) == ("scored", pytest.approx(25))
        assert score.bounds_percent == pytest.approx((100 * 1 / 5, 100 * 2 / 5))
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
        assert score.percent_viable is score.percent_necrosis is score.percent_viable_hard is None
        assert score.bounds_percent is score.interval is None


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
    terms = ["outside_region", "unreadable", "background", "abstained", "non_tumour", "non_viable", "viable"]
    assert list(scored["ledger"]["px"]) == terms
    assert list(scored["ledger"]["mm2"])[:7] == terms
    assert scored["ledger"]["total_px"] == sum(scored["ledger"]["px"].values())
