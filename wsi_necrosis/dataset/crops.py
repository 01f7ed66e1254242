"""Crops of labelled tiles at the pixel size of a model."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.train import CropSettings
from wsi_necrosis.slides.picture_reader import PictureLevels
from wsi_necrosis.slides.pyramid import Pyramid
from wsi_necrosis.slides.stored_levels import on_white
from wsi_necrosis.tiling.grid import SNAP, working_px_l0


def cut_crops(tile: LabelledTile, crops: CropSettings) -> NDArray[np.uint8]:
    """Crops of a labelled tile, evenly spread over it: uint8 (k, tile_px, tile_px, 3).

    The tile is averaged to the crops' pixel size first, as a slide is when it is scored: a ratio within 2 %
    of a whole number is taken as that number, and otherwise every pixel is weighted by its covered area.
    There are at most `crops.per_side` positions along each side; equal positions are taken once, so that a
    tile as wide as a crop gives one.

    Parameters
    ----------
    tile : LabelledTile
        Transparent parts of its picture become white.
    crops : CropSettings
        Side, pixel size and number of the crops.

    Raises
    ------
    DatasetError
        The picture cannot be read, its pixels are more than 2 % coarser than the crops', or it is smaller
        than a crop.
    """
    if tile.mpp > crops.mpp_um * (1 + SNAP):
        raise DatasetError(
            f"{tile.path} has {tile.mpp:g} um per pixel, coarser than crops.mpp_um {crops.mpp_um:g}; train at a "
            "coarser pixel size or leave the tile out"
        )
    rgb = _averaged(_picture(tile.path), working_px_l0(Mpp(tile.mpp, tile.mpp), (1.0,), crops.mpp_um))
    side = crops.tile_px
    if min(rgb.shape[:2]) < side:
        raise DatasetError(
            f"{tile.path} has {rgb.shape[1]} x {rgb.shape[0]} px at {crops.mpp_um:g} um, less than a {side} px crop"
        )
    tops, lefts = (_starts(length - side, crops.per_side) for length in rgb.shape[:2])
    return np.stack([rgb[top : top + side, left : left + side] for top, left in product(tops, lefts)])


def _starts(spare: int, count: int) -> list[int]:
    """Up to `count` positions from 0 to `spare`, evenly spread, each once."""
    return [int(place) for place in np.unique(np.linspace(0, spare, count).round())]


def _picture(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return on_white(image.convert("RGBA" if image.has_transparency_data else "RGB"))
    # what Pillow raises for damaged files, by format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); fetch the data again") from None


def _averaged(image: Image.Image, px_l0: tuple[float, float]) -> NDArray[np.uint8]:
    """The picture averaged to pixels of `px_l0` of its own; an incomplete last column and row are dropped."""
    columns, rows = (int(length / px + 1e-9) for length, px in zip(image.size, px_l0, strict=True))
    if min(rows, columns) == 0:
        return np.empty((rows, columns, 3), np.uint8)
    return Pyramid(PictureLevels(np.asarray(image))).read(Box(0, 0, *image.size), px_l0, (rows, columns)).rgb
