"""Grey level runs: pixels of one level in a row, along each of four directions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import compiled
from wsi_necrosis.radiomics.sizes import entries, size_features

Levels = npt.NDArray[np.uint8]
DIRECTIONS = ((0, 1), (1, -1), (1, 0), (1, 1))
# Indices into the features of `sizes.size_features`, in the order of `families.GLRLM`.
ORDER = (0, 1, 2, 3, 4, 5, 6, 7, 13, 8, 9, 14, 15, 10, 11, 12)


def glrlm(levels: Levels, pad: int, n_levels: int) -> npt.NDArray[np.float64]:
    """GLRLM features in the order of `families.GLRLM`, the mean over directions; 0 where there is none.

    A direction counts, as in pyradiomics, where some line along it holds two pixels of the mask.

    Parameters
    ----------
    levels
        1 to `n_levels` in the mask, 0 outside it and in a border of `pad` pixels, at least 1; uint8 (h, w).
    pad
        Width of the border.
    n_levels
        Highest level.
    """
    counts = _count(levels, pad, n_levels)
    found = [
        size_features(entries(count))
        for count, (down, right) in zip(counts, DIRECTIONS, strict=True)
        if _has_two_on_a_line(levels, down, right)
    ]
    return np.mean(found, axis=0)[list(ORDER)] if found else np.zeros(len(ORDER))


@compiled
def _count(levels: Levels, pad: int, n_levels: int) -> npt.NDArray[np.int32]:
    """Runs by direction, level and length.

    Without branches on pixels, which a processor could not predict: a pixel that ends no run is counted
    too, in the row of level 0, which is not used.
    """
    height, width = levels.shape
    side, one, nowhere = np.int32(max(height, width) + 1), np.int32(1), np.int32(0)
    counts = np.zeros((4, (n_levels + 1) * side), np.int32)
    lengths = np.ones((2, 3, width), np.int32)  # of the run from above up to this row, by direction
    places = np.empty((3, width), np.int32)  # in `counts`, of the run that ends here
    for y in range(pad, height - pad):
        above, here, below = levels[y - 1], levels[y], levels[y + 1]
        for direction in range(3):
            step = direction - 1
            before, now, place = lengths[(y + 1) % 2, direction], lengths[y % 2, direction], places[direction]
            for x in range(1, width - 1):
                length = before[x - step] + one if above[x - step] == here[x] else one
                now[x] = length
                place[x] = here[x] * side + length if below[x + step] != here[x] else nowhere
        along = one
        for x in range(1, width - 1):
            along = along + one if here[x - 1] == here[x] else one
            counts[0, here[x] * side + along] += here[x + 1] != here[x]
            for direction in range(3):
                counts[direction + 1, places[direction, x]] += 1
    return counts.reshape(4, n_levels + 1, side)


@compiled
def _has_two_on_a_line(levels: Levels, down: int, right: int) -> bool:
    """Whether a line along (down, right) holds two pixels of the mask."""
    height, width = levels.shape
    held = np.zeros(2 * height + width + 1, np.bool_)
    for y in range(height):
        for x in range(width):
            if levels[y, x]:
                line = y * right - x * down + height + width
                if held[line]:
                    return True
                held[line] = True
    return False
