from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.helpers.complete_scores import (
    ANY_AMOUNT,
    NONE,
    SHIPPED,
    VIABLE,
    bounds,
    scores,
    settings,
    stores,
    thresholds,
)
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.quality import Measure


@given(stores(), thresholds)
def test_ledger_adds_up_to_the_plane_exactly(store: Scores, wanted: QuantifySettings) -> None:
    score = measure(store, wanted)
    ledger = score.ledger
    scored = store.state == CellState.SCORED
    is_ood = scored & (store.ood > wanted.max_ood)
    defocused = scored & ~is_ood & (store.quality[..., Measure.DEFOCUS] > wanted.max_defocus)
    abstained = is_ood | defocused | (scored & (store.uncertainty > wanted.max_uncertainty))
    assert ledger.abstained == store.px[abstained][:, 1].sum(dtype=int)
    by_reason = ledger.abstained_by
    assert by_reason["ood"] == store.px[is_ood][:, 1].sum(dtype=int)
    assert by_reason["defocus"] == store.px[defocused][:, 1].sum(dtype=int)
    assert sum(by_reason.values()) == ledger.abstained
    assert score.ood_mm2 == by_reason["ood"] * store.px_mm2
    assert score.defocus_mm2 == by_reason["defocus"] * store.px_mm2
    terms = store.px.reshape(-1, 5).sum(axis=0, dtype=int)
    classed = ledger.non_tumour + ledger.non_viable + ledger.viable
    assert ledger.total == terms.sum()
    assert (ledger.background, ledger.unreadable, ledger.outside_region) == (terms[0], terms[2], terms[3])
    assert ledger.abstained + classed == terms[1]
    assert sum(ledger.soft_mm2) == pytest.approx(classed * store.px_mm2, rel=1e-12, abs=1e-12)


def test_unreadable_tissue_is_not_tissue() -> None:
    store = scores(np.array([[NONE, NONE]]))
    px = store.px.copy()
    px[0, 0, 2] = 40
    state = np.array([[CellState.UNREADABLE, CellState.NO_TISSUE]], np.uint8)
    score = measure(replace(store, px=px, state=state), SHIPPED)
    assert (score.reason, score.ledger.unreadable) == ("unreadable", 40)


def test_ood_tissue_is_part_of_what_abstained() -> None:
    unsure = (0.3, 0.35, 0.35)
    store = scores(
        np.array([[VIABLE, unsure, unsure]]), np.array([[9000, 200, 300]]), ood=np.array([[0, 0, 2]])
    )
    score = measure(store, settings(max_uncertainty=0.5))
    assert score.ledger.abstained == 500
    assert score.ood_mm2 == pytest.approx(0.3)
    assert score.to_dict()["ood_mm2"] == pytest.approx(0.3)
    assert bounds(score) == pytest.approx((100 * 9 / 9.5, 100))


def test_nothing_abstains_at_an_uncertainty_of_1() -> None:
    store = scores(np.full((2, 2, 3), 1 / 3))
    store = replace(store, uncertainty=np.full((2, 2), np.nextafter(np.float32(1), np.float32(2))))
    assert measure(store, ANY_AMOUNT).ledger.abstained == 0
    assert measure(store, settings(max_uncertainty=0.99)).ledger.abstained == 400
