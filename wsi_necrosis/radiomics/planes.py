"""Planes of a tile: optical densities of its stains, and the grey levels that texture is computed from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import compiled
from wsi_necrosis.stain.separation import density_table, stain_matrix

Scalar = TypeVar("Scalar", bound=np.generic)
Plane = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in luminance (ITU-R BT.601)


@dataclass(frozen=True)
class Image:
    """One channel of a tile under one mask, ready to be measured by either engine.

    Attributes
    ----------
    values : float32 array (h, w)
        From 0 to below `top`.
    mask : bool array (h, w)
        Pixels to measure.
    width : float
        Width of a bin; bins begin at 0.
    top : float
        Upper end of the range.
    """

    values: Plane
    mask: Mask
    width: float
    top: float

    @property
    def bins(self) -> int:
        """Bins between 0 and `top`."""
        return int(np.ceil(self.top / self.width))


def split(tile: npt.NDArray[np.uint8], channels: Iterable[str]) -> dict[str, Plane]:
    """Planes by channel, float32 (h, w): optical densities of the stains, grey levels as density and as luminance.

    Stains are separated by Ruifrok and Johnston's vectors; the third, "residual", is at right angles to both. With it,
    and not with their third stain (DAB), the haematoxylin of H&E slides stays at or above 0 but for noise. A density is
    negative where the pixel's hue lies outside the stains; it is not clipped here.

    Parameters
    ----------
    tile
        RGB, uint8 (h, w, 3).
    channels
        Some of `recipe.CHANNELS` and "residual".
    """
    wanted = set(channels)
    found: dict[str, Plane] = {}
    if wanted & {"haematoxylin", "eosin", "residual"}:
        unmixing = np.linalg.inv(stain_matrix()).astype(np.float32)
        found.update(
            zip(("haematoxylin", "eosin", "residual"), _unmix(tile, density_table(), unmixing), strict=True)
        )
    if wanted & {"grey", "luminance"}:
        weighted = np.arange(256, dtype=np.float32)[:, None] * np.array(LUMA, np.float32)
        luminance = np.minimum(_luminance(tile, weighted), np.float32(255))
        if "luminance" in wanted:
            found["luminance"] = np.rint(luminance)
        if "grey" in wanted:
            found["grey"] = -np.log((luminance + np.float32(1)) / np.float32(256))
    return found


def to_range(plane: Plane, top: float) -> Plane:
    """The plane clipped to [0, top), without negative zeros."""
    return _clip(plane, np.nextafter(np.float32(top), np.float32(0)))


@compiled
def _unmix(tile: npt.NDArray[np.uint8], table: Plane, unmixing: Plane) -> Plane:
    height, width, _ = tile.shape
    planes = np.empty((3, height, width), np.float32)
    red, green, blue = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    for y in range(height):
        for x in range(width):
            red[x], green[x], blue[x] = table[tile[y, x, 0]], table[tile[y, x, 1]], table[tile[y, x, 2]]
        for stain in range(3):
            row = planes[stain, y]
            of_red, of_green, of_blue = unmixing[0, stain], unmixing[1, stain], unmixing[2, stain]
            for x in range(width):
                row[x] = red[x] * of_red + green[x] * of_green + blue[x] * of_blue
    return planes


@compiled
def _luminance(tile: npt.NDArray[np.uint8], weighted: Plane) -> Plane:
    height, width, _ = tile.shape
    plane = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            plane[y, x] = weighted[tile[y, x, 0], 0] + weighted[tile[y, x, 1], 1] + weighted[tile[y, x, 2], 2]
    return plane


@compiled
def _clip(plane: Plane, last: np.float32) -> Plane:
    clipped = np.empty(plane.shape, np.float32)
    for y in range(plane.shape[0]):
        for x in range(plane.shape[1]):
            value = plane[y, x]
            clipped[y, x] = min(value, last) if value > 0 else np.float32(0)
    return clipped


def inside(values: Plane, mask: Mask) -> Plane:
    """The values in a mask, float32 (n,)."""
    return values.ravel() if mask.all() else _inside(values, mask)


@compiled
def to_levels(
    values: Plane, mask: Mask, width: float, bins: int, pad: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Bin the pixels of a mask, counting levels from the lowest bin that it holds, as pyradiomics does.

    Parameters
    ----------
    values
        float32 (h, w), from 0.
    mask
        bool (h, w).
    width, bins
        Width and number of the bins, at most 255.
    pad
        Width of the border of zeros around the levels.

    Returns
    -------
    levels
        uint8 (h + 2 pad, w + 2 pad): 1 and more in the mask, 0 outside it.
    counts
        Pixels of each bin, int64 (bins,).
    """
    height, row_width = values.shape
    levels = np.zeros((height + 2 * pad, row_width + 2 * pad), np.uint8)
    counts = np.zeros((2, bins + 1), np.int64)  # of even and odd columns, so that two counts run at once
    highest, one = np.int32(bins - 1), np.int32(1)
    for y in range(height):
        row = levels[y + pad, pad : pad + row_width]
        for x in range(row_width):
            level = min(np.int32(np.float64(values[y, x]) / width), highest) + one
            row[x] = level if mask[y, x] else 0
        for x in range(row_width):
            counts[x % 2, row[x]] += 1
    total = counts[0, 1:] + counts[1, 1:]
    lowest = 0
    while lowest < bins and total[lowest] == 0:
        lowest += 1
    if 0 < lowest < bins:
        for y in range(pad, pad + height):
            for x in range(pad, pad + row_width):
                levels[y, x] -= np.uint8(lowest if levels[y, x] else 0)
    return levels, total


@compiled
def _inside(values: Plane, mask: Mask) -> Plane:
    found = np.empty(values.size, np.float32)
    n = 0
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            found[n] = values[y, x]
            n += mask[y, x]
    return found[:n].copy()


def plain(plane: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return the array itself, or a copy that is contiguous and writable, so that numba compiles for one kind only."""
    return np.require(plane, requirements=("C", "W"))
