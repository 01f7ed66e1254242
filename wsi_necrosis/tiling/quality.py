"""Measure how fit a tile is to be scored: focus, blocks of JPEG compression, and size and stain of its nuclei."""

from __future__ import annotations

from dataclasses import replace
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.radiomics.recipe import NucleusRule
from wsi_necrosis.stain.separation import density_table

Scalar = TypeVar("Scalar", bound=np.generic)

NUCLEUS = replace(
    NucleusRule(), min_um2=5.0, max_um2=3000.0
)  # wide limits, so that a wrong pixel size is seen
DARKEST = 0.99  # quantile of a tile's haematoxylin that densities are scaled by ...
DARKEST_OD = 1.2  # ... to this, for which `NucleusRule` was chosen: pale and dark stains give the same nuclei
EVERY = 4  # pixel of tissue is looked at for that
FAINTEST_OD = 0.1  # tissue whose darkest haematoxylin is fainter shows no nuclei
LEAST_TISSUE_UM2 = 500.0  # in the middle of a tile; with less, no nuclei are looked for


class Measure(IntEnum):
    """What is measured of a tile; the last index of `quality` arrays.

    `DEFOCUS` is the least focus that the model accepts over the tile's own, so that more than 1 is out of focus.
    `BLOCKS` is 1 without blocks. `NUCLEI` counts nuclei in the middle of the tile, `NUCLEUS_UM2` is their mean area
    weighted by area, and `NUCLEUS_OD` the mean haematoxylin density of their pixels. NaN where there is nothing to
    measure, or nothing to compare with.
    """

    DEFOCUS = 0
    BLOCKS = 1
    NUCLEI = 2
    NUCLEUS_UM2 = 3
    NUCLEUS_OD = 4


def tile_quality(
    tiles: NDArray[np.uint8], tissue: NDArray[np.bool_], mpp: float, focus_limit: float
) -> NDArray[np.float32]:
    """Measures of tiles by `Measure`.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB.
    tissue : bool array (n, h, w)
        Tissue pixels.
    mpp : float
        Side of a pixel in um.
    focus_limit : float
        Least `focus` that is sharp enough.

    Returns
    -------
    float32 array (n, 5)
    """
    # numba takes half a second to import; the names above do not need it.
    from wsi_necrosis.tiling.focus import focus_and_blocks

    found = np.full((len(tiles), len(Measure)), np.nan, np.float32)
    table = density_table()
    for row, tile, mask in zip(found, tiles, tissue, strict=True):
        focus, row[Measure.BLOCKS] = focus_and_blocks(np.ascontiguousarray(tile), table)
        row[Measure.DEFOCUS] = focus_limit / focus
        row[Measure.NUCLEI :] = _nuclei(_middle(tile), _middle(mask), mpp)
    return found


def _middle(plane: NDArray[Scalar]) -> NDArray[Scalar]:
    """The middle half of a tile's height and width, a quarter of its area: enough to know a slide's nuclei."""
    height, width = plane.shape[:2]
    top, left = height // 4, width // 4
    return np.ascontiguousarray(plane[top : height - top, left : width - left])


def _nuclei(tile: NDArray[np.uint8], tissue: NDArray[np.bool_], mpp: float) -> tuple[float, float, float]:
    """Number of nuclei, their mean area in um2 weighted by area, and the mean density of their pixels."""
    from wsi_necrosis.radiomics.nuclei import find_nuclei  # imports numba, as in `tile_quality`
    from wsi_necrosis.radiomics.planes import split

    if np.count_nonzero(tissue) * mpp**2 < LEAST_TISSUE_UM2:
        return 0.0, np.nan, np.nan
    planes = split(tile, ("haematoxylin", "residual"))
    haematoxylin = planes["haematoxylin"]
    inside = haematoxylin[tissue][::EVERY]
    at = int(DARKEST * inside.size)
    darkest = np.partition(inside, at)[at]
    if darkest < FAINTEST_OD:
        return 0.0, np.nan, np.nan
    scale = np.float32(DARKEST_OD / darkest)
    labels = find_nuclei(haematoxylin * scale, planes["residual"] * scale, tissue, NUCLEUS, mpp)
    sizes = np.bincount(labels.ravel())[1:]
    if not len(sizes):
        return 0.0, np.nan, np.nan
    um2 = float((sizes**2).sum() / sizes.sum()) * mpp**2
    return float(len(sizes)), um2, float(haematoxylin[labels > 0].mean())
