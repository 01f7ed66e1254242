"""Find nuclei by their haematoxylin, in one call of compiled code."""

from __future__ import annotations

from math import isqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import compiled
from wsi_necrosis.radiomics.planes import plain
from wsi_necrosis.radiomics.recipe import NucleusRule

Bytes = npt.NDArray[np.uint8]
Density = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


class _PixelRule(NamedTuple):
    """A `NucleusRule` converted to pixels.

    Attributes
    ----------
    blur
        Weights of the Gaussian from its centre outwards, float64 (reach + 1,).
    window
        Side of the square of surroundings.
    disc
        Half width of each row of the disc that a nucleus holds, int64 (2 radius + 1,).
    min_od, min_contrast, max_residual_share
        As in the rule; in the precision in which densities are compared.
    px_um2, min_um2, max_um2
        Area of a pixel, and the limits of a nucleus's.
    """

    blur: Numbers
    window: int
    disc: Integers
    min_od: np.float32
    min_contrast: float
    max_residual_share: np.float32
    px_um2: float
    min_um2: float
    max_um2: float


def find_nuclei(
    haematoxylin: Density, residual: Density, tissue: Mask, rule: NucleusRule, mpp: float
) -> Labels:
    """Find the nuclei of a tile and number them.

    A nucleus is a connected region that is rich in haematoxylin, both absolutely and against the tissue
    around it, is not red like blood cells, holds a small disc, and has the size of a nucleus. Touching
    nuclei of one dark clump count as one; pixels touch along a side.

    Beyond the tile's edge, planes are mirrored for the blur and the surroundings, and hold no nucleus for
    the disc, as in scipy.

    Parameters
    ----------
    haematoxylin, residual
        Optical density, float32, shape (h, w).
    tissue
        bool, shape (h, w); nuclei lie in it.
    rule
        What counts as a nucleus.
    mpp
        Side of a pixel in um.

    Returns
    -------
    int32, shape (h, w): 0 outside nuclei, inside them 1 to their number, by the first pixel from the top.
    """
    return _find(plain(haematoxylin), plain(residual), plain(tissue), _in_pixels(rule, mpp))


def _in_pixels(rule: NucleusRule, mpp: float) -> _PixelRule:
    sigma = rule.blur_um / mpp
    reach = int(4 * sigma + 0.5)
    half = np.exp(-0.5 / sigma**2 * np.arange(reach + 1.0) ** 2) if reach else np.ones(1)
    radius = round(rule.open_um / mpp)
    return _PixelRule(
        blur=half / (2 * half.sum() - half[0]),
        window=max(1, round(rule.background_um / mpp)),
        disc=np.array([isqrt(radius**2 - row**2) for row in range(-radius, radius + 1)]),
        min_od=np.float32(rule.min_od),
        min_contrast=float(rule.min_contrast),
        max_residual_share=np.float32(rule.max_residual_share),
        px_um2=float(mpp) ** 2,
        min_um2=float(rule.min_um2),
        max_um2=float(rule.max_um2),
    )


@compiled
def _find(haematoxylin: Density, residual: Density, tissue: Mask, rule: _PixelRule) -> Labels:
    blurred = _blurred(haematoxylin, rule.blur)
    return _numbered(_opened(_dark(blurred, residual, tissue, rule), rule.disc), rule)


@compiled
def _mirrored(first: int, count: int, size: int) -> Integers:
    """`count` places from `first` on of a line of `size` that continues as d c b a | a b c d | d c b a."""
    places = np.empty(count, np.int64)
    for i in range(count):
        place = (first + i) % (2 * size)
        places[i] = min(place, 2 * size - 1 - place)
    return places


@compiled
def _blurred(plane: Density, weights: Numbers) -> Density:
    """Gaussian blur, columns before rows, in the order and precision of scipy's sums."""
    height, width = plane.shape
    reach = weights.size - 1
    rows = _mirrored(-reach, height + 2 * reach, height)
    cols = _mirrored(-reach, width + 2 * reach, width)
    blurred = np.empty_like(plane)
    column, line = np.empty(width), np.empty(cols.size)
    for y in range(height):
        _weigh(column, plane[y], weights[0])
        for step in range(reach, 0, -1):
            _weigh_pair(column, plane[rows[y + reach - step]], plane[rows[y + reach + step]], weights[step])
        for i in range(cols.size):
            line[i] = np.float32(column[cols[i]])
        _weigh(column, line[reach : reach + width], weights[0])
        for step in range(reach, 0, -1):
            left = line[reach - step : reach - step + width]
            _weigh_pair(column, left, line[reach + step : reach + step + width], weights[step])
        for i in range(width):
            blurred[y, i] = column[i]
    return blurred


@compiled
def _weigh(total: Numbers, values: npt.NDArray[np.floating], weight: float) -> None:
    for i in range(total.size):
        total[i] = values[i] * weight


@compiled
def _weigh_pair(
    total: Numbers, one: npt.NDArray[np.floating], other: npt.NDArray[np.floating], weight: float
) -> None:
    for i in range(total.size):
        total[i] += (np.float64(one[i]) + np.float64(other[i])) * weight


@compiled
def _dark(blurred: Density, residual: Density, tissue: Mask, rule: _PixelRule) -> Bytes:
    """1 where a pixel has the stain of a nucleus; with a border of zeros in which the disc fits."""
    height, width = blurred.shape
    window, pad = rule.window, rule.disc.size // 2 + 1
    rows = _mirrored(-(window // 2), height + window, height)
    cols = _mirrored(-(window // 2), width + window, width)
    dark = np.zeros((height + 2 * pad, width + 2 * pad), np.uint8)
    totals, counts = np.zeros(width), np.zeros(width)  # of the tissue in the window's rows, by column
    sums, areas = np.zeros(width + window), np.zeros(width + window)  # of all columns to the left
    for i in range(window):
        _add_row(totals, counts, blurred[rows[i]], tissue[rows[i]], 1.0)
    for y in range(height):
        _add_up(totals, cols, sums)
        _add_up(counts, cols, areas)
        inside = dark[y + pad, pad : pad + width]
        sums_to, areas_to = sums[window:], areas[window:]
        for x in range(width):
            od = blurred[y, x]
            total, area = sums_to[x] - sums[x], areas_to[x] - areas[x]
            contrasts = (od - rule.min_contrast) * area > total
            stained = (od > rule.min_od) & (residual[y, x] <= rule.max_residual_share * od)
            inside[x] = tissue[y, x] & stained & contrasts
        _add_row(totals, counts, blurred[rows[y]], tissue[rows[y]], -1.0)
        _add_row(totals, counts, blurred[rows[y + window]], tissue[rows[y + window]], 1.0)
    return dark


@compiled
def _add_row(totals: Numbers, counts: Numbers, values: Density, tissue: Mask, sign: float) -> None:
    for x in range(totals.size):
        weight = sign * tissue[x]
        totals[x] += weight * values[x]
        counts[x] += weight


@compiled
def _add_up(values: Numbers, places: Integers, sums: Numbers) -> None:
    """Fill `sums` with the sums of the values at the places before each."""
    total = 0.0
    for i in range(places.size):
        sums[i] = total
        total += values[places[i]]


@compiled
def _opened(dark: Bytes, disc: Integers) -> Bytes:
    """Union of the discs that lie in `dark`, whose border of zeros it keeps."""
    eroded, opened = np.zeros_like(dark), np.zeros_like(dark)
    radius = disc.size // 2
    height, width = dark.shape
    for y in range(radius, height - radius):
        inside = eroded[y, radius : width - radius]
        inside[:] = 1
        for i in range(disc.size):
            for x in range(radius - disc[i], radius + disc[i] + 1):
                inside &= dark[y + i - radius, x : x + inside.size]
    for y in range(radius, height - radius):
        inside = opened[y, radius : width - radius]
        for i in range(disc.size):
            for x in range(radius - disc[i], radius + disc[i] + 1):
                inside |= eroded[y + i - radius, x : x + inside.size]
    return opened


@compiled
def _numbered(mask: Bytes, rule: _PixelRule) -> Labels:
    """Number the regions of a nucleus's size; clears `mask`."""
    pad = rule.disc.size // 2 + 1
    height, width = mask.shape[0] - 2 * pad, mask.shape[1] - 2 * pad
    labels = np.zeros((height, width), np.int32)
    region = np.empty((height * width, 2), np.int32)
    number = 0
    for y in range(pad, pad + height):
        for x in range(pad, pad + width):
            if mask[y, x]:
                size = _take_region(mask, y, x, region)
                if rule.min_um2 <= size * rule.px_um2 <= rule.max_um2:
                    number += 1
                    for i in range(size):
                        labels[region[i, 0] - pad, region[i, 1] - pad] = number
    return labels


@compiled
def _take_region(mask: Bytes, y: int, x: int, region: Labels) -> int:
    """List the pixels that are connected to (y, x), clear them, and return their number."""
    region[0, 0], region[0, 1] = y, x
    mask[y, x] = 0
    size, i = 1, 0
    while i < size:
        for down, right in ((-1, 0), (0, -1), (0, 1), (1, 0)):
            row, col = region[i, 0] + down, region[i, 1] + right
            if mask[row, col]:
                mask[row, col] = 0
                region[size, 0], region[size, 1] = row, col
                size += 1
        i += 1
    return size
