"""Find nuclei by their haematoxylin, and describe them.

Each of the two functions is one call of compiled code that holds no lock of the interpreter's.
"""

from __future__ import annotations

from math import isqrt, sqrt
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from wsi_necrosis.radiomics.kernel import compiled
from wsi_necrosis.radiomics.recipe import NUCLEI, NucleusRule

Bytes = npt.NDArray[np.uint8]
Density = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
Labels = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]
Scalar = TypeVar("Scalar", bound=np.generic)


class _PixelRule(NamedTuple):
    """A `NucleusRule` in pixels of one size.

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
    around it, is not the red of blood, holds a small disc, and has the size of a nucleus. Touching
    nuclei of one dark clump count as one; pixels touch along a side.

    Planes continue beyond the tile's edge as in a mirror for the blur and the surroundings, and as no
    nucleus for the disc, as scipy does it.

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
    return _find(_plain(haematoxylin), _plain(residual), _plain(tissue), _in_pixels(rule, mpp))


def describe_nuclei(
    labels: Labels, haematoxylin: Density, tissue: Mask, rule: NucleusRule, mpp: float
) -> Numbers:
    """Statistics of the nuclei of a tile; all 0 where there is no nucleus or no tissue.

    A nucleus cut by the tile's edge counts as a half in the density, because the neighbouring tile sees
    its other part, and takes no part in sizes, shapes and stain. Eccentricity is that of the ellipse of
    the same second moments, as in scikit-image. Solidity is the area over that of the convex hull, pixels
    being squares; scikit-image draws the hull in pixels and comes a few percent higher. Stain ("od") is a
    nucleus's mean density, and pale is a nucleus below `rule.pale_od`. "neighbour_um" is the distance
    from a centroid to the nearest other one, edge or not. Spreads are those of the population, and
    percentiles lie on straight lines between values, as in numpy.

    Parameters
    ----------
    labels
        From `find_nuclei`, int32, shape (h, w).
    haematoxylin
        Optical density, float32, shape (h, w).
    tissue
        bool, shape (h, w).
    rule
        What counts as pale.
    mpp
        Side of a pixel in um.

    Returns
    -------
    float64, shape (len(NUCLEI),), in the order of `recipe.NUCLEI`.
    """
    statistics = np.zeros(len(NUCLEI))
    tissue_px = int(np.count_nonzero(tissue))
    if tissue_px:
        _describe(
            _plain(labels), _plain(haematoxylin), tissue_px, float(rule.pale_od), float(mpp), statistics
        )
    return statistics


def _plain(plane: npt.NDArray[Scalar]) -> npt.NDArray[Scalar]:
    """Return the array itself, or a copy that is contiguous and writable: one kind, so one compilation."""
    return np.require(plane, requirements=("C", "W"))


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
    """Number the regions of a nucleus's size; uses `mask` up."""
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


@compiled
def _describe(
    labels: Labels, haematoxylin: Density, tissue_px: int, pale_od: float, mpp: float, statistics: Numbers
) -> None:
    """Fill `statistics`, which holds zeros."""
    sums, boxes = _sums(labels, haematoxylin)
    nuclei = np.flatnonzero(sums[:, 0])
    if not nuclei.size:
        return
    shapes = np.empty((4, nuclei.size))
    whole, pale = 0, 0
    for nucleus in nuclei:
        if _is_cut(boxes[nucleus], labels.shape):
            continue
        area = sums[nucleus, 0]
        shapes[0, whole] = area * mpp**2
        shapes[1, whole] = _eccentricity(sums[nucleus])
        shapes[2, whole] = area / _hull_area(labels, int(nucleus) + 1, boxes[nucleus])
        shapes[3, whole] = sums[nucleus, 6] / area
        pale += shapes[3, whole] < pale_od
        whole += 1
    statistics[0] = (nuclei.size + whole) / 2 / (tissue_px * mpp**2 / 1e6)
    statistics[1] = sums[:, 0].sum() / tissue_px
    if whole:
        for i in range(4):
            _summarise(shapes[i, :whole], statistics[2 + 5 * i : 7 + 5 * i])
        statistics[24] = pale / whole
    distances = _nearest(sums[nuclei, 1] / sums[nuclei, 0], sums[nuclei, 2] / sums[nuclei, 0])
    statistics[22], statistics[23] = distances.mean() * mpp, distances.std() * mpp


@compiled
def _is_cut(box: Integers, shape: tuple[int, int]) -> bool:
    return bool(min(box[0], box[1]) == 0 or box[2] == shape[0] - 1 or box[3] == shape[1] - 1)


@compiled
def _sums(labels: Labels, haematoxylin: Density) -> tuple[Numbers, Integers]:
    """By nucleus: sums of 1, y, x, yy, xx, yx and density; first row and column, last row and column."""
    height, width = labels.shape
    count = max(labels.max(), 0)
    sums, boxes = np.zeros((count, 7)), np.empty((count, 4), np.int64)
    boxes[:, :2], boxes[:, 2:] = max(height, width), -1
    for y in range(height):
        x = 0
        while x < width:
            first, number, density = x, labels[y, x], 0.0
            if number <= 0:
                x += 1
                continue
            while x < width and labels[y, x] == number:
                density += haematoxylin[y, x]
                x += 1
            _add_run(sums[number - 1], boxes[number - 1], y, first, x)
            sums[number - 1, 6] += density
    return sums, boxes


@compiled
def _add_run(sums: Numbers, box: Integers, y: int, first: int, stop: int) -> None:
    """Add the pixels from column `first` up to `stop` of row y."""
    size, last = stop - first, stop - 1
    xs = size * (first + last) / 2
    sums[0] += size
    sums[1] += size * y
    sums[2] += xs
    sums[3] += size * y**2
    sums[4] += (last * stop * (2 * last + 1) - (first - 1) * first * (2 * first - 1)) / 6
    sums[5] += xs * y
    box[0], box[1] = min(box[0], y), min(box[1], first)
    box[2], box[3] = max(box[2], y), max(box[3], last)


@compiled
def _eccentricity(sums: Numbers) -> float:
    """sqrt(1 - b^2 / a^2) of the ellipse with the region's second moments; 0 for one pixel.

    Sums are whole numbers, so that nothing cancels; b^2 and a^2 are the moments' sum minus and plus
    their spread.
    """
    area, y, x = sums[0], sums[1], sums[2]
    yy, xx, yx = area * sums[3] - y * y, area * sums[4] - x * x, area * sums[5] - y * x
    spread = sqrt((yy - xx) ** 2 + 4 * yx**2)
    return sqrt(min(2 * spread / (yy + xx + spread), 1.0)) if spread else 0.0


@compiled
def _hull_area(labels: Labels, number: int, box: Integers) -> float:
    """Area of the convex hull of a region's pixels, which are unit squares."""
    top, left, bottom, right = box
    edges = np.empty((2, bottom - top + 2), np.int64)  # of the squares at each line between rows
    edges[0], edges[1] = right + 1, -left  # left edge, and right edge with its sign turned
    for y in range(top, bottom + 1):
        first, last = left, right
        while first <= right and labels[y, first] != number:
            first += 1
        while last >= left and labels[y, last] != number:
            last -= 1
        for line in (y - top, y - top + 1):
            edges[0, line] = min(edges[0, line], first)
            edges[1, line] = min(edges[1, line], -last - 1)
    return -(_twice_below(edges[0]) + _twice_below(edges[1])) / 2


@compiled
def _twice_below(values: Integers) -> int:
    """Twice the area below the lower convex hull of the points (i, values[i]), by a monotone chain."""
    hull = np.empty(values.size, np.int64)
    size = 0
    for i in range(values.size):
        while size > 1:
            a, b = hull[size - 2], hull[size - 1]
            if (b - a) * (values[i] - values[a]) > (i - a) * (values[b] - values[a]):
                break
            size -= 1
        hull[size] = i
        size += 1
    twice = 0
    for k in range(size - 1):
        a, b = hull[k], hull[k + 1]
        twice += (b - a) * (values[a] + values[b])
    return twice


@compiled
def _nearest(y: Numbers, x: Numbers) -> Numbers:
    """Distance from each point to the nearest other one; 0 where there is no other.

    Every pair is looked at: 0.1 ms for the 300 nuclei of a dense tile.
    """
    squares = np.full(y.size, np.inf if y.size > 1 else 0.0)
    for i in range(y.size):
        for j in range(i):
            square = (y[j] - y[i]) ** 2 + (x[j] - x[i]) ** 2
            squares[i], squares[j] = min(squares[i], square), min(squares[j], square)
    distances: Numbers = np.sqrt(squares)
    return distances


@compiled
def _summarise(values: Numbers, statistics: Numbers) -> None:
    """Mean, standard deviation, 10th percentile, median and 90th percentile."""
    ordered = np.sort(values)
    statistics[0], statistics[1] = values.mean(), values.std()
    for i, share in enumerate((0.1, 0.5, 0.9)):
        place = share * (ordered.size - 1)
        below = int(place)
        above = min(below + 1, ordered.size - 1)
        statistics[2 + i] = ordered[below] + (ordered[above] - ordered[below]) * (place - below)
