"""How a pixel's level compares with those around it: GLDM and NGTDM."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import compiled
from wsi_necrosis.radiomics.sizes import entries, size_features

Levels = npt.NDArray[np.uint8]
# Indices into the features of `sizes.size_features`, in the order of `families.GLDM`.
ORDER = (13, 8, 9, 15, 0, 2, 3, 4, 5, 6, 7, 10, 11, 12)


def gldm_and_ngtdm(
    levels: Levels, pad: int, n_levels: int, offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Features in the orders of `families.GLDM` and `families.NGTDM`; 0 where the mask is empty.

    A pixel depends on the neighbours of its own level (`gldm_a = 0` in pyradiomics).

    Parameters
    ----------
    levels
        1 to `n_levels` in the mask, 0 outside it and in a border of `pad` pixels; uint8 (h, w).
    pad
        Width of the border, at least the largest offset.
    n_levels
        Highest level.
    offsets
        Rows and columns from a pixel to its neighbours, int64 (n, 2), one of each opposite pair.
    """
    dependence, apart = _compare(levels, pad, n_levels, np.concatenate([offsets, -offsets]))
    if not dependence.any():
        return np.zeros(len(ORDER)), np.zeros(5)
    difference = (apart[:, 1:] / np.arange(1, apart.shape[1])).sum(axis=1)
    return size_features(entries(dependence))[list(ORDER)], _ngtdm(dependence.sum(axis=1), difference)


@compiled
def _compare(
    levels: Levels, pad: int, n_levels: int, offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pixels by level and 1 + number of equal neighbours, and sums of how far they lie from their neighbours.

    The second are by level and number of neighbours in the mask: |number * level - sum of the neighbours|.
    """
    inner = levels.shape[1] - 2 * pad
    dependence = np.zeros((n_levels + 1, len(offsets) + 2), np.int64)
    apart = np.zeros((n_levels + 1, len(offsets) + 1), np.int64)
    equal, held, total = np.empty(inner, np.uint16), np.empty(inner, np.uint16), np.empty(inner, np.uint32)
    for y in range(pad, levels.shape[0] - pad):
        here = levels[y, pad : pad + inner]
        equal[:] = 1
        held[:] = 0
        total[:] = 0
        for offset in range(len(offsets)):
            x = pad + offsets[offset, 1]
            there = levels[y + offsets[offset, 0], x : x + inner]
            for i in range(inner):
                equal[i] += np.uint16(there[i] == here[i])
                held[i] += np.uint16(there[i] != 0)
                total[i] += np.uint32(there[i])
        for i in range(inner):
            level = np.int64(here[i])
            if level:
                dependence[level, equal[i]] += 1
                apart[level, held[i]] += abs(level * held[i] - np.int64(total[i]))
    return dependence, apart


@compiled
def _ngtdm(counts: npt.NDArray[np.int64], s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Busyness, Coarseness, Complexity, Contrast and Strength from pixels and differences by level."""
    n = counts.sum()
    held = np.flatnonzero(counts)
    p = counts / n
    weighted, total = 0.0, 0.0
    for i in held:
        weighted += p[i] * s[i]
        total += s[i]
    spread, contrast, complexity, strength = 0.0, 0.0, 0.0, 0.0
    for i in held:
        for j in held:
            distance = np.float64(abs(i - j))
            spread += abs(i * p[i] - j * p[j])
            contrast += p[i] * p[j] * distance**2
            complexity += distance * (p[i] * s[i] + p[j] * s[j]) / (p[i] + p[j])
            strength += (p[i] + p[j]) * distance**2
    pairs = held.size * (held.size - 1)
    return np.array(
        [
            weighted / spread if spread != 0 else 0.0,
            1 / weighted if weighted != 0 else 1e6,
            complexity / n,
            contrast * total / n / pairs if pairs else 0.0,
            strength / total if total != 0 else 0.0,
        ]
    )
