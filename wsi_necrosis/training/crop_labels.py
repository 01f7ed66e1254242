"""Which crops of a labelled tile inherit its label.

A pathologist labels a tile as a whole; parts of a "viable" tile may be glass, bone or fat. A crop of tumour that is
mostly such is left out of training and of all figures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, VIABLE
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.radiomics.recipe import Feature, Recipe
from wsi_necrosis.settings.train import CropSettings
from wsi_necrosis.tiling.foreground import foreground

NUCLEI = Recipe("nuclei", (Feature("nuclei", "density_per_mm2", "haematoxylin", "nuclei"),))
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeftOut:
    """Crops of one case and class: how many were cut, and how many of them do not inherit the label."""

    cut: int
    left_out: int


def inherits(tile: LabelledTile, pixels: NDArray[np.uint8], crops: CropSettings) -> NDArray[np.bool_]:
    """Which crops (k,) of a tile, uint8 (k, h, w, 3), have its label.

    All of a tile without tumour. Of a tumour tile those with at least `crops.min_tissue` of stained tissue; if the
    tile is viable, they also hold at least `crops.min_nuclei_per_mm2` of tissue. Necrosis may have lost its nuclei.
    """
    if not tile.is_tumour:
        return np.ones(len(pixels), bool)
    tissue = foreground(pixels)
    kept: NDArray[np.bool_] = tissue.mean(axis=(1, 2)) >= crops.min_tissue
    if tile.truth[VIABLE] == 1 and crops.min_nuclei_per_mm2:
        density = extract(pixels, tissue, NUCLEI, crops.mpp_um)[0][:, 0]
        kept &= density >= crops.min_nuclei_per_mm2
    return kept


def left_out_by_case(
    tiles: Sequence[LabelledTile], kept: Sequence[NDArray[np.bool_]]
) -> dict[str, dict[str, LeftOut]]:
    """Crops left out of tiles, by case and class; `mixed` for tiles of both kinds of tumour."""
    found: dict[str, dict[str, LeftOut]] = {}
    for tile, inherited in zip(tiles, kept, strict=True):
        of_case = found.setdefault(tile.case, {})
        name = "mixed" if tile.label is None else CLASSES[tile.label]
        before = of_case.get(name, LeftOut(0, 0))
        lost = int((~inherited).sum())
        of_case[name] = LeftOut(before.cut + len(inherited), before.left_out + lost)
    return found


def log_left_out(found: Mapping[str, Mapping[str, LeftOut]]) -> None:
    """Say how many crops of which case do not inherit their label."""
    for case, of_case in found.items():
        for name, count in of_case.items():
            if count.left_out:
                log.info(
                    "%s: %d of %d crops of %s tiles are mostly glass, bone or fat, and left out",
                    case, count.left_out, count.cut, name.replace("_", "-"),
                )  # fmt: skip
