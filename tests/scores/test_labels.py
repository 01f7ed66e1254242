import numpy as np

from tests.helpers.complete_scores import no_quality
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import cell_class, defocused_cells, ood_cells
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.tiling.grid import TileGrid

GRID = TileGrid(Box(0, 0, 500, 300), (2.0, 2.0), Mpp(1.0, 1.0), 32, 32, 3)
SHIPPED = load_settings().quantify


def test_cell_class_follows_state_uncertainty_and_distance() -> None:
    prob = np.array(
        [[[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5], [0.4, 0.3, 0.3], [np.nan] * 3]], np.float32
    )
    uncertainty = np.array([[0.5, 0.5, 0.6, 0.95, np.nan]], np.float32)
    state = np.array([[2, 2, 2, 2, 3]], np.uint8)
    ood = np.array([[0, 1, 1.5, 0.5, np.nan]], np.float32)
    quality = no_quality((1, 5))
    quality[0, :, 0] = (0.5, 1.2, 3, np.nan, 3)
    scores = Scores(GRID, 1.0, prob, uncertainty, ood, quality, np.zeros((1, 5, 4), np.uint32), state)

    def labels(**changes: float) -> list[int]:
        return cell_class(scores, SHIPPED.model_copy(update=changes))[0].tolist()

    assert labels(max_defocus=9) == [1, 2, 4, 1, 5]
    assert labels(max_uncertainty=0.9, max_defocus=9) == [1, 2, 4, 4, 5]
    assert labels(max_uncertainty=0.9, max_ood=1.5, max_defocus=9) == [1, 2, 3, 4, 5]
    assert labels(max_ood=0.4, max_defocus=9) == [1, 4, 4, 4, 5]
    assert labels() == [1, 4, 4, 1, 5]
    assert labels(max_ood=9, max_defocus=2) == [1, 2, 4, 1, 5]


def test_only_scored_cells_are_ood() -> None:
    state = np.array([[0, 1, 2, 2, 2, 3]], np.uint8)
    ood = np.array([[9, 9, 1, np.nextafter(np.float32(1), np.float32(2)), np.inf, 9]], np.float32)
    empty = np.zeros((1, 6), np.float32)
    scores = Scores(
        GRID, 1.0, np.zeros((1, 6, 3), np.float32), empty, ood, no_quality((1, 6)),
        np.zeros((1, 6, 5), np.uint32), state,
    )  # fmt: skip
    assert ood_cells(scores, SHIPPED).tolist() == [[False, False, False, True, True, False]]


def test_cells_out_of_focus_are_those_that_are_scored_and_not_ood() -> None:
    state = np.array([[1, 2, 2, 2, 2, 3]], np.uint8)
    ood = np.array([[0, 0, 0, 2, 0, 0]], np.float32)
    quality = no_quality((1, 6))
    quality[0, :, 0] = (2, 1, 2, 2, np.nan, 2)
    empty, px = np.zeros((1, 6), np.float32), np.zeros((1, 6, 5), np.uint32)
    scores = Scores(GRID, 1.0, np.zeros((1, 6, 3), np.float32), empty, ood, quality, px, state)
    assert defocused_cells(scores, SHIPPED).tolist() == [[False, False, True, False, False, False]]


def test_a_distance_or_uncertainty_that_is_no_number_abstains() -> None:
    state = np.full((1, 3), 2, np.uint8)
    prob = np.tile(np.float32([0.1, 0.1, 0.8]), (1, 3, 1))
    ood = np.array([[np.nan, 0.5, 0.5]], np.float32)
    uncertainty = np.array([[0.2, np.nan, 0.2]], np.float32)
    px = np.zeros((1, 3, 4), np.uint32)
    scores = Scores(GRID, 1.0, prob, uncertainty, ood, no_quality((1, 3)), px, state)
    assert cell_class(
        scores, SHIPPED.model_copy(update={"max_ood": 1e9, "max_uncertainty": 1.0})
    ).tolist() == [[4, 4, 3]]
    assert ood_cells(scores, SHIPPED).tolist() == [[True, False, False]]
