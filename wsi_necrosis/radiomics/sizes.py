"""Features of matrices that count things by their level and size: runs, zones and dependences.

GLRLM, GLSZM and GLDM of pyradiomics share these formulas and differ in what is counted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import EPSILON, compiled

Entries = npt.NDArray[np.int64]


@compiled
def entries(counts: npt.NDArray[np.integer]) -> Entries:
    """Level, size and count of the entries of a dense matrix (levels, sizes) that are not 0: int64 (n, 3).

    Level 0, which lies outside the mask, is left out.
    """
    n = 0
    for level in range(1, counts.shape[0]):
        for size in range(counts.shape[1]):
            n += counts[level, size] != 0
    found = np.empty((n, 3), np.int64)
    n = 0
    for level in range(1, counts.shape[0]):
        for size in range(counts.shape[1]):
            if counts[level, size] != 0:
                found[n, 0], found[n, 1], found[n, 2] = level, size, counts[level, size]
                n += 1
    return found


@compiled
def size_features(counted: Entries) -> npt.NDArray[np.float64]:
    """Features in the order of `families.GLSZM` from level, size and count of each entry, int64 (n, 3).

    Levels and sizes are 1 or more, and no pair comes twice; there is at least one entry.
    """
    total, pixels, mean_level, mean_size = 0.0, 0.0, 0.0, 0.0
    for level, size, count in counted:
        total += count
        pixels += count * size
        mean_level += count * level
    mean_level, mean_size = mean_level / total, pixels / total
    by_level = np.zeros(counted[:, 0].max() + 1)
    by_size = np.zeros(counted[:, 1].max() + 1)
    high, low, large, small = 0.0, 0.0, 0.0, 0.0
    large_high, large_low, small_high, small_low = 0.0, 0.0, 0.0, 0.0
    level_variance, size_variance, entropy = 0.0, 0.0, 0.0
    for level, size, count in counted:
        by_level[level] += count
        by_size[size] += count
        share = count / total
        level2, size2 = np.float64(level) * level, np.float64(size) * size
        high += share * level2
        low += share / level2
        large += share * size2
        small += share / size2
        large_high += share * size2 * level2
        large_low += share * size2 / level2
        small_high += share * level2 / size2
        small_low += share / (level2 * size2)
        level_variance += share * (level - mean_level) ** 2
        size_variance += share * (size - mean_size) ** 2
        entropy -= share * np.log2(share + EPSILON)
    level_squares, size_squares = 0.0, 0.0
    for count in by_level:
        level_squares += count * count
    for count in by_size:
        size_squares += count * count
    return np.array(
        [
            level_squares / total, level_squares / total**2, level_variance, high, large, large_high, large_low,
            low, size_squares / total, size_squares / total**2, small, small_high, small_low, entropy,
            total / pixels, size_variance,
        ]
    )  # fmt: skip
