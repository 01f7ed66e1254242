"""Descriptions of tiles for out-of-distribution detection: colours, and how much they vary between neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.jit import compiled
from wsi_necrosis.model.ood import FLOOR_OD
from wsi_necrosis.stain.separation import density_table


def describe(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours of tiles, and how they vary: mean optical density, and log spread within 2 x 2 pixels, by colour.

    The variance within 2 x 2 pixels is what averaging them takes away: the mean square before less that after (the
    finest energy of Haar wavelets, Mallat S (1989), IEEE TPAMI 11:674-693). Rotating by 90 degrees or mirroring a tile
    changes nothing but rounding.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; the last of an odd number of rows or columns is left out.

    Returns
    -------
    float64 array (n, 6)
        Means of red, green and blue, then their spreads. A row depends on its tile alone.
    """
    sums = np.empty((len(tiles), 3, 3))
    pair_sums(np.ascontiguousarray(tiles), density_table(), sums)
    blocks = (tiles.shape[1] // 2) * (tiles.shape[2] // 2)
    squares, coarse_squares, mean = np.moveaxis(sums / (blocks * np.array([4, 1, 1])), 2, 0)
    spread = np.log(FLOOR_OD + np.sqrt(np.maximum(squares - coarse_squares, 0)))
    return np.concatenate([mean, spread], axis=1)


@compiled
def pair_sums(tiles: NDArray[np.uint8], table: NDArray[np.float32], sums: NDArray[np.float64]) -> None:
    """Sums over each colour of each tile, at full resolution and averaged over 2 x 2 pixels.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; the last of an odd number of rows or columns is left out.
    table : float32 array (256,)
        Optical density of each value of a channel.
    sums : float64 array (n, 3, 3)
        Receives the sum of squares, and of the means over 2 x 2 the sums of squares and of values. Means are float32;
        sums are taken in double precision.
    """
    rows, cols = tiles.shape[1] // 2, tiles.shape[2] // 2
    for at in range(len(tiles)):
        for colour in range(3):
            squares, coarse_squares, total = 0.0, 0.0, 0.0
            for y in range(rows):
                for x in range(cols):
                    a = table[tiles[at, 2 * y, 2 * x, colour]]
                    b = table[tiles[at, 2 * y, 2 * x + 1, colour]]
                    c = table[tiles[at, 2 * y + 1, 2 * x, colour]]
                    d = table[tiles[at, 2 * y + 1, 2 * x + 1, colour]]
                    squares += (np.float64(a) * a + np.float64(b) * b) + (
                        np.float64(c) * c + np.float64(d) * d
                    )
                    mean = np.float64(((a + c) + (b + d)) * np.float32(0.25))
                    coarse_squares += mean * mean
                    total += mean
            sums[at, colour, 0], sums[at, colour, 1], sums[at, colour, 2] = squares, coarse_squares, total
