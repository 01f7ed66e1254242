"""How much the densities of a tile vary within 2, 4 and 8 pixels: one pass over its pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.jit import compiled

COARSEST_PX = 8


@compiled
def octave_sums(tiles: NDArray[np.uint8], table: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Sums over each colour of each tile, at full resolution and averaged over 2 x 2, 4 x 4 and 8 x 8 pixels.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; rows and columns beyond a multiple of 8 are left out.
    table : float32 array (256,)
        What each value of a channel stands for.
    sums : float64 array (n, 3, 5)
        Receives the sums of squares at 1, 2, 4 and 8 pixels, and of the means over 8 x 8. Means are float32; sums
        are taken in double precision.
    """
    rows, cols = tiles.shape[1] // COARSEST_PX, tiles.shape[2] // COARSEST_PX
    by_two = np.empty((4, 4 * cols), np.float32)
    by_four = np.empty((2, 2 * cols), np.float32)
    by_eight = np.empty((1, cols), np.float32)
    for at in range(len(tiles)):
        for colour in range(3):
            total = sums[at, colour]
            total[:] = 0
            for row in range(rows):
                band = tiles[at, COARSEST_PX * row : COARSEST_PX * (row + 1), :, colour]
                total[0] += _look_up(band, table, by_two)
                total[1] += _halve(by_two, by_four)
                total[2] += _halve(by_four, by_eight)
                for x in range(cols):
                    mean = np.float64(by_eight[0, x])
                    total[3] += mean * mean
                    total[4] += mean


@compiled
def _look_up(band: NDArray[np.uint8], table: NDArray[np.float32], coarse: NDArray[np.float32]) -> float:
    """As `_halve`, of what `table` has for the values of `band`."""
    squares = 0.0
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            a, b = table[band[2 * y, 2 * x]], table[band[2 * y, 2 * x + 1]]
            c, d = table[band[2 * y + 1, 2 * x]], table[band[2 * y + 1, 2 * x + 1]]
            squares += (np.float64(a) * a + np.float64(b) * b) + (np.float64(c) * c + np.float64(d) * d)
            coarse[y, x] = ((a + c) + (b + d)) * np.float32(0.25)
    return squares


@compiled
def _halve(fine: NDArray[np.float32], coarse: NDArray[np.float32]) -> float:
    """Fill `coarse` with means over 2 x 2 of `fine`, and give the sum of squares of `fine`."""
    squares = 0.0
    for y in range(coarse.shape[0]):
        for x in range(coarse.shape[1]):
            a, b = fine[2 * y, 2 * x], fine[2 * y, 2 * x + 1]
            c, d = fine[2 * y + 1, 2 * x], fine[2 * y + 1, 2 * x + 1]
            squares += (np.float64(a) * a + np.float64(b) * b) + (np.float64(c) * c + np.float64(d) * d)
            coarse[y, x] = ((a + c) + (b + d)) * np.float32(0.25)
    return squares
