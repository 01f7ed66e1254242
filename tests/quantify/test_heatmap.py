import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.helpers.complete_scores import no_quality
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.heatmap import CHANNELS, Heatmap, Level, pyramid, stitch
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import cell_class
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.tiling.grid import TileGrid

SHIPPED = load_settings().quantify
TIE_ORDER = [3, 2, 1, 4, 5]


def scores(shape: tuple[int, int], seed: int = 0) -> Scores:
    """Any store, half of whose cells are scored; tiles are twice as wide as cells."""
    rng = np.random.default_rng(seed)
    state = rng.choice([0, 1, 2, 2, 2, 3], size=shape).astype(np.uint8)
    scored = state == CellState.SCORED
    prob = np.where(scored[..., None], rng.dirichlet((1, 1, 1), size=shape), np.nan).astype(np.float32)
    px = np.zeros((*shape, 5), np.uint32)
    px[..., 1] = scored * 9
    plane = Box(30, 50, shape[1] * 200, shape[0] * 100)
    grid = TileGrid(plane, (4.0, 2.0), Mpp(1.0, 1.0), 100, 50, 8)
    uncertainty = np.where(scored, rng.random(shape), np.nan).astype(np.float32)
    ood = np.where(scored, rng.random(shape), np.nan).astype(np.float32)
    return Scores(grid, 1e-5, prob, uncertainty, ood, no_quality(shape), px, state)


def test_each_cell_has_its_own_probabilities() -> None:
    store = scores((7, 5))
    heat = stitch(store, SHIPPED)
    scored = store.state == CellState.SCORED
    assert heat.channels.shape == (4, 7, 5)
    assert heat.channels.dtype == np.float32
    for k in range(len(CLASSES)):
        np.testing.assert_array_equal(heat.channels[k][scored], store.prob[scored, k])
    np.testing.assert_array_equal(heat.channels[3][scored], store.uncertainty[scored])
    assert np.isnan(heat.channels[:, ~scored]).all()
    np.testing.assert_array_equal(heat.label, cell_class(store, SHIPPED))
    assert CHANNELS == ("p_non_tumour", "p_non_viable", "p_viable", "uncertainty")


@pytest.mark.parametrize(("limit", "of"), [("max_uncertainty", "uncertainty"), ("max_ood", "ood")])
def test_abstained_cells_keep_their_probabilities(limit: str, of: str) -> None:
    store = scores((7, 5))
    heat = stitch(store, SHIPPED.model_copy(update={limit: 0.5}))
    abstained = (store.state == CellState.SCORED) & (getattr(store, of) > 0.5)
    assert abstained.any()
    np.testing.assert_array_equal(heat.label == 4, abstained)
    assert np.isfinite(heat.channels[:, abstained]).all()


def test_scored_cells_without_tissue_stay_empty() -> None:
    store = scores((4, 4))
    store.px[...] = 0
    heat = stitch(store, SHIPPED)
    assert np.isnan(heat.channels).all()
    assert set(np.unique(heat.label)) <= {0, 5}


def test_frame_is_that_of_level_0_in_micrometres() -> None:
    heat = stitch(scores((3, 3)), SHIPPED)
    assert (heat.mpp.x, heat.mpp.y) == (0.25, 0.5)
    assert heat.origin_um == (30 * 0.25, 50 * 0.5)
    assert heat.cell_um == (50.0, 50.0)


def windows(array: NDArray[np.generic], row: int, col: int, side: int) -> NDArray[np.generic]:
    return array[..., row * side : (row + 1) * side, col * side : (col + 1) * side]


def expected(heat: Heatmap, k: int) -> Level:
    side, (rows, cols) = 2**k, heat.label.shape
    shape = -(-rows // side), -(-cols // side)
    channels, label = np.empty((4, *shape), np.float32), np.empty(shape, np.uint8)
    for row, col in np.ndindex(shape):
        part, marks = windows(heat.channels, row, col, side), windows(heat.label, row, col, side)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a window of glass has no mean
            channels[:, row, col] = np.nanmean(part.astype(np.float64), axis=(1, 2))
        votes = [int((marks == value).sum()) for value in TIE_ORDER]
        label[row, col] = TIE_ORDER[int(np.argmax(votes))] if any(votes) else 0
    return Level(channels, label)


@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 100))
@hypothesis_settings(max_examples=15, deadline=None)
def test_levels_are_means_over_tissue_and_most_frequent_labels(rows: int, cols: int, seed: int) -> None:
    heat = stitch(scores((rows, cols), seed), SHIPPED)
    levels = pyramid(heat)
    assert len(levels) == 1 + (max(rows, cols) > 64) + (max(rows, cols) > 128)
    for k, level in enumerate(levels[1:], start=1):
        truth = expected(heat, k)
        np.testing.assert_allclose(level.channels, truth.channels, rtol=1e-5)
        np.testing.assert_array_equal(level.label, truth.label)
        assert (level.channels.dtype, level.label.dtype) == (np.float32, np.uint8)


def test_a_lone_viable_cell_stays_in_sight() -> None:
    store = scores((130, 130))
    store.state[...] = CellState.NO_TISSUE
    store.px[...] = 0
    store.state[77, 31], store.px[77, 31, 1] = CellState.SCORED, 5
    store.prob[77, 31], store.uncertainty[77, 31] = (0.1, 0.1, 0.8), 0.3
    store.ood[77, 31] = 0
    last = pyramid(stitch(store, SHIPPED))[-1]
    assert last.label[77 // 4, 31 // 4] == 3
    assert last.channels[2, 77 // 4, 31 // 4] == pytest.approx(0.8)
    assert (last.label > 0).sum() == 1
