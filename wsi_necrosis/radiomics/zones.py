"""Grey level zones: pixels of one level that touch, diagonals included."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import compiled
from wsi_necrosis.radiomics.sizes import entries, size_features

Levels = npt.NDArray[np.uint8]
SMALL = 64  # zones up to this size are counted in a table, larger ones are few and are sorted
LEVEL = 2**32  # factor of the level in the key of a large zone


def glszm(levels: Levels, pad: int, n_levels: int) -> npt.NDArray[np.float64]:
    """GLSZM features in the order of `families.GLSZM`; 0 where the mask is empty.

    Parameters
    ----------
    levels
        1 to `n_levels` in the mask, 0 outside it and in a border of `pad` pixels, at least 1; uint8 (h, w).
    pad
        Width of the border.
    n_levels
        Highest level.
    """
    small, large = _zones(levels, pad, n_levels)
    keys, counts = np.unique(large, return_counts=True)
    zones = np.concatenate([entries(small), np.stack([keys // LEVEL, keys % LEVEL, counts], axis=1)])
    return size_features(zones) if len(zones) else np.zeros(16)


@compiled
def _root(parent: npt.NDArray[np.int32], zone: int) -> int:
    while parent[zone] != zone:
        parent[zone] = parent[parent[zone]]
        zone = parent[zone]
    return zone


@compiled
def _join(parent: npt.NDArray[np.int32], one: int, other: int) -> int:
    """Make two zones one; the older becomes the root of both."""
    a, b = _root(parent, one), _root(parent, other)
    if a < b:
        parent[b] = a
        return a
    parent[a] = b
    return b


@compiled
def _zones(levels: Levels, pad: int, n_levels: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Small zones counted by level and size, and `level * LEVEL + size` of each large one."""
    height, width = levels.shape
    parent = np.empty(height * width + 1, np.int32)
    size = np.zeros(height * width + 1, np.int32)
    level_of = np.empty(height * width + 1, np.uint8)
    rows = np.zeros((2, width), np.int32)  # zone of each pixel of the row above and of this one
    n = 0
    for y in range(pad, height - pad):
        up, now = rows[(y + 1) % 2], rows[y % 2]
        above, here = levels[y - 1], levels[y]
        for x in range(pad, width - pad):
            level = here[x]
            if level == 0:
                continue
            # A pixel above touches all other neighbours seen so far; the one to the right touches none.
            if above[x] == level:
                zone = up[x]
            elif above[x + 1] == level:
                zone = up[x + 1]
                if above[x - 1] == level:
                    zone = _join(parent, zone, up[x - 1])
                elif here[x - 1] == level:
                    zone = _join(parent, zone, now[x - 1])
            elif above[x - 1] == level:
                zone = up[x - 1]
            elif here[x - 1] == level:
                zone = now[x - 1]
            else:
                zone = n
                parent[n] = n
                level_of[n] = level
                n += 1
            now[x] = zone
            size[zone] += 1
    for zone in range(n - 1, -1, -1):  # a parent is older than its children
        if parent[zone] != zone:
            size[parent[zone]] += size[zone]
    return _tally(parent[:n], size[:n], level_of[:n], n_levels)


@compiled
def _tally(
    parent: npt.NDArray[np.int32], size: npt.NDArray[np.int32], level: npt.NDArray[np.uint8], n_levels: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    small = np.zeros((n_levels + 1, SMALL + 1), np.int64)
    large = np.empty(size.sum() // SMALL + 1, np.int64)
    n_large = 0
    for zone in range(len(parent)):
        if parent[zone] != zone:
            continue
        if size[zone] <= SMALL:
            small[level[zone], size[zone]] += 1
        else:
            large[n_large] = level[zone] * LEVEL + size[zone]
            n_large += 1
    return small, large[:n_large]
