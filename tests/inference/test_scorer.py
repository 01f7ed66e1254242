from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.array_slide import ArraySlide
from tests.helpers.phantom_model import phantom_network
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.inference.scorer import Scorer, predict_padded
from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.stain.normalise import Normaliser
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.grid import Block, TileGrid

GRID = TileGrid(Box(0, 0, 96, 64), (1.0, 1.0), Mpp(1.0, 1.0), 32, 32, 4)
BLOCK = Block(0, 0, 0, 0, 2, 3)


@pytest.fixture(scope="module")
def model() -> TileModel:
    return load_model("phantom")


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    """Six cells: viable, non-viable, non-tumour; glass, viable, viable."""
    rng = np.random.default_rng(0)
    names = ("viable", "non_viable", "non_tumour", "glass", "viable", "viable")
    tiles = [phantom_tiles(name, 1, 32, rng)[0] for name in names]
    return np.concatenate([np.concatenate(tiles[:3], axis=1), np.concatenate(tiles[3:], axis=1)])


def tissue_everywhere_but_on_glass() -> np.ndarray:
    px = np.zeros((2, 3, 5), np.uint32)
    px[..., 1] = 64
    px[1, 0] = (64, 0, 0, 0, 0)
    return px


def test_cells_with_tissue_are_scored_and_others_are_not(model: TileModel, rgb: np.ndarray) -> None:
    px, stats = tissue_everywhere_but_on_glass(), WorkerStats()
    found = Scorer(ArraySlide(rgb), model, GRID, 4).score(BLOCK, px, stats)
    assert found.prob.argmax(axis=-1)[px[..., 1] > 0].tolist() == [2, 1, 0, 2, 2]
    assert found.state.tolist() == [[2, 2, 2], [1, 2, 2]]
    assert np.isnan(found.prob[1, 0]).all()
    assert np.isfinite(found.radiomics[found.state == CellState.SCORED]).all()
    assert np.allclose(found.gate[found.state == CellState.SCORED].sum(axis=-1), 1)
    assert (found.ood[found.state == CellState.SCORED] == 0).all()  # this model does not measure it
    assert np.isnan(found.ood[1, 0])
    assert (found.px == px).all()
    assert set(stats.seconds) == {"read", "radiomics", "network"}


def test_cells_hold_their_distance_from_the_training_tiles(model: TileModel, rgb: np.ndarray) -> None:
    """By a detector that was fitted to the cell of necrosis alone."""
    known = np.repeat(describe(rgb[None, :32, 32:64]), 3, axis=0)
    spec = replace(model.spec, ood=OodDetector.fit(known, limit=0.5, shrinkage=1.0))
    with_detector = TileModel(spec, TorchRunner(phantom_network(spec)))
    found = Scorer(ArraySlide(rgb), with_detector, GRID, 4).score(
        BLOCK, tissue_everywhere_but_on_glass(), WorkerStats()
    )
    assert found.ood[0, 1] < 1
    others = np.array([[True, False, True], [False, True, True]])
    assert (found.ood[others] > 1).all()
    assert np.isnan(found.ood[1, 0])
    assert np.isfinite(found.prob[others]).all()  # whatever the limit: abstaining is decided later


def test_stains_are_normalised_before_radiomics_and_network(model: TileModel, rgb: np.ndarray) -> None:
    paler = Normaliser("macenko", ((0.2, 0.0, 0.0), (0.0, 0.12, 0.0), (0.0, 0.0, 0.1)))
    # masks of radiomics change too
    assert (foreground(rgb[None]) != foreground(paler.apply(rgb)[None])).any()
    px, stats = tissue_everywhere_but_on_glass(), WorkerStats()
    found = Scorer(ArraySlide(rgb), model, GRID, 4, normaliser=paler).score(BLOCK, px, stats)
    by_hand = Scorer(ArraySlide(paler.apply(rgb)), model, GRID, 4).score(BLOCK, px, WorkerStats())
    for name in ("prob", "uncertainty", "radiomics", "gate", "state", "px"):
        np.testing.assert_array_equal(getattr(found, name), getattr(by_hand, name))
    plain = Scorer(ArraySlide(rgb), model, GRID, 4).score(BLOCK, px, WorkerStats())
    assert not np.allclose(found.radiomics, plain.radiomics, equal_nan=True)
    assert set(stats.seconds) == {"read", "normalise", "radiomics", "network"}
    tile = paler.apply(rgb[:32, :32])[None]
    features, _ = extract(tile, foreground(tile), model.spec.recipe, 1.0)
    np.testing.assert_array_equal(found.radiomics[0, 0], features[0].astype(np.float32))


def test_an_unreadable_tile_costs_its_cell_and_no_other(model: TileModel, rgb: np.ndarray) -> None:
    px = tissue_everywhere_but_on_glass()
    whole = Scorer(ArraySlide(rgb), model, GRID, 4).score(BLOCK, px, WorkerStats())
    found = Scorer(ArraySlide(rgb, (Box(40, 8, 4, 4),)), model, GRID, 4).score(BLOCK, px, WorkerStats())
    assert found.state[0, 1] == CellState.UNREADABLE
    assert found.px[0, 1].tolist() == [0, 0, 64, 0, 0]
    assert np.isnan(found.prob[0, 1]).all()
    others = np.ones((2, 3), bool)
    others[0, 1] = False
    assert np.array_equal(found.prob[others], whole.prob[others], equal_nan=True)
    assert (found.px.sum(axis=-1) == px.sum(axis=-1)).all()


def test_a_block_without_tissue_reads_nothing(model: TileModel, rgb: np.ndarray) -> None:
    slide, px = ArraySlide(rgb), np.zeros((2, 3, 5), np.uint32)
    found = Scorer(slide, model, GRID, 4).score(BLOCK, px, WorkerStats())
    assert slide.reads == []
    assert (found.state == CellState.NO_TISSUE).all()


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_padding_does_not_change_predictions(model: TileModel, batch: int) -> None:
    pixels = phantom_tiles("viable", 7, 32, np.random.default_rng(1))
    features = np.zeros((7, 3))
    prediction = predict_padded(model, pixels, features, batch)
    assert prediction.prob.shape == (7, 3)
    assert prediction.gate.shape == (7, 2)
    assert prediction.ood.shape == prediction.uncertainty.shape == (7,)
    whole = predict_padded(model, pixels, features, 7)
    np.testing.assert_allclose(prediction.prob, whole.prob, atol=1e-5)
