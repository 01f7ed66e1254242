"""Descriptions of tiles for out-of-distribution detection: colours, and how much they vary at four scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.jit import compiled
from wsi_necrosis.model.ood import NUMBERS, OCTAVES
from wsi_necrosis.stain.separation import density_table

FLOOR_OD = 0.003  # added to each spread, so that noise in uniform areas has little weight
COARSEST_PX = 8


def describe(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours of tiles, and how they vary: mean optical density, and log spread by scale, of red, green and blue.

    The variance at a scale is what averaging 2 x 2 pixels takes away: the mean square before less that after (the
    energy of Haar wavelets, Mallat S (1989), IEEE TPAMI 11:674-693); the last is what is left at the coarsest scale.
    Rotating by 90 degrees or mirroring a tile changes nothing but rounding.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; rows and columns beyond a multiple of 8 are left out.

    Returns
    -------
    float64 array (n, 15)
        A row depends on its tile alone.
    """
    sums = np.empty((len(tiles), 3, OCTAVES + 2))
    octave_sums(np.ascontiguousarray(tiles), density_table(), sums)
    coarsest = 2**OCTAVES
    height, width = (side // coarsest * coarsest for side in tiles.shape[1:3])
    moments = sums / (height * width / np.array([4**octave for octave in (*range(OCTAVES + 1), OCTAVES)]))
    squares, mean = moments[..., :-1], moments[..., -1]
    variance = np.maximum(-np.diff(squares, append=mean[..., None] ** 2), 0)
    spread = np.log(FLOOR_OD + np.sqrt(variance)).swapaxes(1, 2).reshape(len(tiles), NUMBERS - 3)
    return np.concatenate([mean, spread], axis=1)


@compiled
def octave_sums(tiles: NDArray[np.uint8], table: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Sums over each colour of each tile, at full resolution and averaged over 2 x 2, 4 x 4 and 8 x 8 pixels.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; rows and columns beyond a multiple of 8 are left out.
    table : float32 array (256,)
        Optical density of each value of a channel.
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
    """As `_halve`, of the entries of `table` for the values of `band`."""
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
