from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.settings.train import CropSettings, load_train_settings
from wsi_necrosis.training.crop_labels import LeftOut, inherits, left_out_by_case

CROPS = load_train_settings().crops
SIDE, GLASS, MATRIX, NUCLEUS = 224, (243, 243, 243), (225, 160, 200), (90, 50, 130)
MIXED = (0.0, 0.5, 0.5)


def tile(truth: tuple[float, float, float]) -> LabelledTile:
    return replace(samples(("A", N)).tiles[0], truth=truth)


def crop(tissue: float, nuclei: int) -> NDArray[np.uint8]:
    """Glass, of which a share is matrix, with so many round nuclei of 9 um on it."""
    pixels = np.full((SIDE, SIDE, 3), GLASS, np.uint8)
    pixels[: round(tissue * SIDE)] = MATRIX
    y, x = np.mgrid[:SIDE, :SIDE]
    for at in range(nuclei):
        row, col = 10 + 18 * (at // 11), 12 + 18 * (at % 11)
        pixels[(y - row) ** 2 + (x - col) ** 2 <= 4.5**2] = NUCLEUS
    return pixels


def kept(
    truth: tuple[float, float, float], *crops: NDArray[np.uint8], settings: CropSettings = CROPS
) -> list[bool]:
    return inherits(tile(truth), np.stack(crops), settings).tolist()


def test_crops_of_mostly_glass_are_no_tumour() -> None:
    full, bare = crop(0.9, 90), crop(0.3, 22)
    assert kept(CERTAIN[V], full, bare) == [True, False]
    assert kept(CERTAIN[X], full, bare) == [True, False]
    assert kept(MIXED, full, bare) == [True, False]


def test_bone_and_matrix_without_nuclei_are_not_viable_but_may_be_necrosis() -> None:
    cellular, matrix = crop(1.0, 99), crop(1.0, 3)
    assert kept(CERTAIN[V], cellular, matrix) == [True, False]
    assert kept(CERTAIN[X], cellular, matrix) == [True, True]
    assert kept(MIXED, cellular, matrix) == [True, True]


def test_what_is_no_tumour_keeps_its_label() -> None:
    """Fat and bone are what non-tumour tiles show."""
    assert kept(CERTAIN[N], crop(0.0, 0), crop(1.0, 0)) == [True, True]


@pytest.mark.parametrize("truth", [CERTAIN[V], CERTAIN[X], MIXED])
def test_both_limits_can_be_turned_off(truth: tuple[float, float, float]) -> None:
    off = CROPS.model_copy(update={"min_tissue": 0.0, "min_nuclei_per_mm2": 0.0})
    assert kept(truth, crop(0.0, 0), crop(1.0, 0), settings=off) == [True, True]


def test_counts_by_case_and_class() -> None:
    tiles = samples(("A", V), ("A", V), ("A", X), ("B", None)).tiles
    marks = [np.array(row, bool) for row in ([1, 0, 0], [1, 1, 1], [0, 1, 1], [1, 1, 1])]
    assert left_out_by_case(tiles, marks) == {
        "A": {CLASSES[V]: LeftOut(6, 2), CLASSES[X]: LeftOut(3, 1)},
        "B": {"mixed": LeftOut(3, 0)},
    }
