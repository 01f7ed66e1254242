"""How far cells of a slide resemble one another: the range of a spherical variogram of their viable share."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

MOST_CELLS = 1500  # drawn of a slide: about a million pairs, which take 0.1 s
LEAST_CELLS = 100
BINS = 30  # of distance, up to half the longer side of the tissue: beyond it few pairs repeat one another
RANGES = 60  # tried, evenly up to the longest distance


def correlation_range_mm(centre_mm: ArrayLike, share: ArrayLike, seed: int) -> float | None:
    """Distance in mm from which on two cells tell nothing of one another; None where that cannot be told.

    The empirical variogram (Matheron, Economic Geology 58, 1963, 1246-1266) is fitted by a nugget and a spherical
    model, by least squares weighted with the number of pairs. Where it never levels off, the range is the longest
    distance looked at.

    Parameters
    ----------
    centre_mm : array of float, (cells, 2)
        Where the cells lie.
    share : array of float, (cells,)
        Viable share of the tumour of each, from 0 to 1.
    seed : int
        Of the cells that are taken where there are many.

    Examples
    --------
    >>> row, col = np.indices((60, 60)).reshape(2, -1) * 0.25
    >>> patches = np.random.default_rng(0).random((8, 8))[(row // 2).astype(int), (col // 2).astype(int)]
    >>> 1.5 < correlation_range_mm(np.stack([row, col], axis=-1), patches, 1) < 3
    True
    """
    from scipy.spatial.distance import pdist  # takes a while to import

    place, value = np.asarray(centre_mm, np.float64), np.asarray(share, np.float64)
    if len(value) < LEAST_CELLS or np.ptp(value) == 0:
        return None
    kept = np.random.default_rng(seed).permutation(len(value))[:MOST_CELLS]
    reach = float(np.ptp(place, axis=0).max()) / 2
    distance, half_square = pdist(place[kept]), pdist(value[kept, None], "sqeuclidean") / 2
    near = distance < reach
    at = (distance[near] / reach * BINS).astype(np.int64)
    pairs = np.bincount(at, minlength=BINS)
    held = pairs > 0
    lag, found = (np.bincount(at, each[near], BINS)[held] / pairs[held] for each in (distance, half_square))
    tried = reach * np.arange(1, RANGES + 1) / RANGES
    return float(min(tried, key=lambda length: _misfit(lag, found, np.sqrt(pairs[held]), length)))


def _misfit(
    lag: NDArray[np.float64], found: NDArray[np.float64], weight: NDArray[np.float64], length: float
) -> float:
    """What is left of a variogram when nugget and sill of a spherical model of this range are fitted to it."""
    ratio = np.minimum(lag / length, 1)
    model = np.stack([np.ones_like(ratio), 1.5 * ratio - 0.5 * ratio**3], axis=-1)
    from scipy.optimize import nnls  # as `pdist`

    return float(nnls(model * weight[:, None], found * weight)[1])
