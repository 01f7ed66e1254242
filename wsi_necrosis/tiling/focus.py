"""Focus of a tile and its blocks of JPEG compression, in one call of compiled code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.jit import compiled

# Of blocks at most: those of JPEG are 8 px wide where they were compressed, and 4 averaged by 2.
PERIOD_PX = 8
# Mean square of Brenner's differences; noise of bare glass has less, and focus cannot be told.
FAINTEST = 1e-4
NOISE_OD = 2e-3  # added to differences, so that those of even tiles are no blocks


@compiled
def focus_and_blocks(tile: NDArray[np.uint8], table: NDArray[np.float32]) -> tuple[float, float]:
    """Focus and blocks of a tile, by the mean optical density of its three colours.

    Focus is the energy of the second difference (a Laplacian by direction, as in Nayar and Nakagawa's sum-modified
    Laplacian) over the energy of Brenner's gradient, the difference of pixels that are two apart: the smaller one of
    rows and columns, so that motion along one of them counts. It does not depend on the strength of the stain. A plane
    that is smooth over pixels nears 0, noise has 3.

    Blocks are the largest mean difference of neighbours at one place of every 8 over the median of the 8, the larger
    one of rows and columns: 1 where no place stands out.

    Brenner JF et al. (1976), An automated microscope for cytologic research, J Histochem Cytochem 24:100-111; Nayar
    SK, Nakagawa Y (1994), Shape from focus, IEEE TPAMI 16:824-831.

    Parameters
    ----------
    tile
        RGB, uint8 (h, w, 3), at least 3 x 3.
    table
        Optical density of each value of a channel, float32 (256,).

    Returns
    -------
    Focus and blocks; NaN where there is too little contrast in one direction.
    """
    grey = _grey(tile, table)
    across, down = _along_rows(grey), _along_rows(grey.T.copy())
    if min(across[1], down[1]) < FAINTEST:
        return np.nan, np.nan
    return min(across[0] / across[1], down[0] / down[1]), max(across[2], down[2])


@compiled
def _grey(tile: NDArray[np.uint8], table: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width, _ = tile.shape
    grey = np.empty((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            grey[y, x] = (table[tile[y, x, 0]] + table[tile[y, x, 1]] + table[tile[y, x, 2]]) / np.float32(3)
    return grey


@compiled
def _along_rows(grey: NDArray[np.float32]) -> tuple[float, float, float]:
    """Mean squares of second differences and of Brenner's along the rows, and blocks."""
    height, width = grey.shape
    second, first = 0.0, 0.0
    steps = np.zeros(width, np.float32)
    for y in range(height):
        in_second, in_first = np.float32(0), np.float32(0)
        for x in range(2, width):
            a, b, c = grey[y, x - 2], grey[y, x - 1], grey[y, x]
            in_second += (a - b - b + c) ** 2
            in_first += (c - a) ** 2
        for x in range(1, width):
            steps[x] += abs(grey[y, x] - grey[y, x - 1])
        second += float(in_second)
        first += float(in_first)
    count = height * (width - 2)
    return second / count, first / count, _stands_out(steps, height)


@compiled
def _stands_out(steps: NDArray[np.float32], height: int) -> float:
    """The largest over the median of mean differences at the places of every 8 columns; the first has no difference."""
    means = np.empty(PERIOD_PX)
    for place in range(PERIOD_PX):
        of_place = steps[1:][place::PERIOD_PX]
        means[place] = of_place.sum() / (height * max(of_place.size, 1)) + NOISE_OD
    return float(means.max() / np.median(means))
