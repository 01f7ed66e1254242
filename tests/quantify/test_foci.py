from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.helpers.complete_scores import (
    NON_VIABLE,
    NONE,
    SHIPPED,
    VIABLE,
    scores,
    settings,
    stores,
    thresholds,
)
from wsi_necrosis.quantify.foci import foci_of, largest_extent_mm
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.settings.run import QuantifySettings

LIKELY = (0.1, 0.2, 0.7)


def test_foci_touch_by_sides_and_corners_and_are_ranked_by_viable_tissue() -> None:
    store = scores(
        np.array([[VIABLE, NONE, NONE, NONE], [NONE, LIKELY, NONE, VIABLE], [NONE, NONE, NONE, NONE]]),
        np.array([[400, 900, 900, 900], [900, 200, 900, 500], [900, 900, 900, 900]]),
    )
    first, second = foci_of(store, SHIPPED)
    assert (first.rank, first.cells, second.rank, second.cells) == (1, 2, 2, 1)
    px = store.px_mm2
    assert first.area_mm2 == pytest.approx(600 * px)
    assert second.area_mm2 == pytest.approx(500 * px)
    prob = store.prob[0, 0, 2], store.prob[1, 1, 2]
    assert first.viable_mm2 == pytest.approx((400 * prob[0] + 200 * prob[1]) * px)
    assert first.max_prob == pytest.approx(prob[0])
    width, height = store.grid.cell_l0
    assert (first.box.x_l0, first.box.y_l0) == (store.grid.plane.x_l0, store.grid.plane.y_l0)
    assert (first.box.width_l0, first.box.height_l0) == (2 * width, 2 * height)
    assert first.centre_l0 == (store.grid.plane.x_l0 + width / 2, store.grid.plane.y_l0 + height / 2)
    assert second.centre_l0 == (store.grid.plane.x_l0 + 3.5 * width, store.grid.plane.y_l0 + 1.5 * height)


def test_the_extent_is_from_corner_to_corner() -> None:
    store = scores(np.array([[VIABLE, VIABLE, VIABLE], [NONE, NONE, VIABLE]]))
    (focus,) = foci_of(store, SHIPPED)
    side = store.grid.stride_px * store.grid.mpp.x / 1e3
    assert focus.extent_mm == pytest.approx(side * np.hypot(3, 2))
    assert largest_extent_mm((focus,)) == focus.extent_mm
    assert largest_extent_mm(()) == 0


def test_small_foci_are_left_out_of_a_second_percentage() -> None:
    store = scores(
        np.array([[VIABLE, NONE, VIABLE], [NONE, NONE, NON_VIABLE]]),
        np.array([[300, 900, 700], [900, 900, 1000]]),
    )
    score = measure(store, settings(min_focus_mm2=0.5))
    assert score.percent_viable == pytest.approx(50)
    assert score.percent_viable_without_small_foci == pytest.approx(100 * 7 / 17)
    assert score.n_foci == 2
    assert measure(store, SHIPPED).percent_viable_without_small_foci is None


def test_cells_that_abstain_belong_to_no_focus() -> None:
    store = scores(np.array([[VIABLE, VIABLE]]), ood=np.array([[0, 2]]))
    assert [focus.cells for focus in foci_of(store, settings())] == [1]
    assert foci_of(scores(np.array([[NONE, NONE]])), SHIPPED) == ()


@given(stores(), thresholds)
def test_foci_hold_all_viable_tissue_once(store: Scores, wanted: QuantifySettings) -> None:
    found = foci_of(store, wanted)
    ledger = measure(store, wanted).ledger
    assert sum(focus.area_mm2 for focus in found) == pytest.approx(ledger.viable * ledger.pixel_mm2)
    assert [focus.rank for focus in found] == list(range(1, len(found) + 1))
    assert [focus.viable_mm2 for focus in found] == sorted(
        (focus.viable_mm2 for focus in found), reverse=True
    )


def test_the_extent_of_many_cells_is_that_of_their_hull() -> None:
    store = scores(np.array([[VIABLE] * 30] * 12))
    (focus,) = foci_of(store, SHIPPED)
    side = store.grid.stride_px * store.grid.mpp.x / 1e3
    assert focus.extent_mm == pytest.approx(side * np.hypot(30, 12))
