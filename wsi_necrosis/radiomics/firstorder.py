"""First-order statistics of the values under a mask, equal to pyradiomics's.

Values are counted in narrow buckets, and only those in the buckets of the percentiles are sorted.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import EPSILON, compiled, compiled_sum

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
BUCKETS = 2048
LARGEST = np.finfo(np.float32).max


def first_order(values: npt.NDArray[np.float32], counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First-order features in the order of `families.FIRST_ORDER`; all 0 where there is no value.

    Parameters
    ----------
    values
        float32, shape (n,), finite and none below 0.
    counts
        Number of values in each bin; Entropy and Uniformity are of the bins.
    """
    if not values.size:
        return np.zeros(18)
    return _statistics(values, counts)


@compiled
def _order_statistics(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The values at and just above the rank of each quantile: (2 * quantiles,)."""
    n = values.size
    ranks = np.empty(2 * len(QUANTILES), np.int64)
    for q, quantile in enumerate(QUANTILES):
        ranks[2 * q] = int(quantile * (n - 1))
        ranks[2 * q + 1] = min(ranks[2 * q] + 1, n - 1)
    buckets, lowest = _bucketed(values)
    counts = np.zeros((2, BUCKETS), np.int64)  # of even and odd indices, so that two counts run at once
    for i in range(n):
        counts[i % 2, buckets[i]] += 1
    ends = (counts[0] + counts[1]).cumsum()
    bucket_of = np.searchsorted(ends, ranks, side="right")
    wanted = np.zeros(BUCKETS, np.uint8)
    wanted[bucket_of] = 1
    wanted[0] = 0  # bucket 0 holds only copies of the lowest value, often many
    held, n_held = np.empty(n + 1, np.float32), 0
    for i in range(n):
        held[n_held] = values[i]
        n_held += wanted[buckets[i]]
    held = np.sort(held[:n_held])
    passed = ((counts[0] + counts[1]) * (1 - wanted)).cumsum()
    found = np.full(ranks.size, lowest)
    for r, bucket in enumerate(bucket_of):
        if bucket:
            found[r] = held[ranks[r] - passed[bucket]]
    return found


@compiled
def _bucketed(values: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.uint16], np.float32]:
    """The bucket of each value: 0 for the lowest value, equal ranges from 1 on for the others; the lowest value."""
    low, high = values[0], values[0]
    for i in range(values.size):
        low, high = min(low, values[i]), max(high, values[i])
    scale = min(np.float32(BUCKETS - 2) / (high - low), LARGEST) if high > low else np.float32(0)
    buckets = np.empty(values.size, np.uint16)
    for i in range(values.size):
        above = values[i] - low
        buckets[i] = np.uint16(np.int32(above * scale) + (above > 0))
    return buckets, low


@compiled_sum
def _statistics(values: npt.NDArray[np.float32], counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    n, neighbours = values.size, _order_statistics(values)
    quantiles = np.empty(len(QUANTILES))
    for q, quantile in enumerate(QUANTILES):
        place = quantile * (n - 1)
        part = place - int(place)
        low, high = np.float64(neighbours[2 * q]), np.float64(neighbours[2 * q + 1])
        # From the nearer end, as numpy does: a percentile that is a value must be it to the last bit.
        quantiles[q] = low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)

    minimum, maximum = np.float64(values[0]), np.float64(values[0])
    total, energy, inner, n_inner = 0.0, 0.0, 0.0, 0
    for index in range(n):
        value = np.float64(values[index])
        minimum = min(minimum, value)
        maximum = max(maximum, value)
        total += value
        energy += value * value
        within = (value >= quantiles[0]) & (value <= quantiles[4])
        inner += value if within else 0.0
        n_inner += within
    # The mean of equal values must be that value, or rounding would give a flat tile a skewness.
    mean = minimum if minimum == maximum else total / n
    inner_mean = inner / max(n_inner, 1)

    second, third, fourth, deviation, inner_deviation = 0.0, 0.0, 0.0, 0.0, 0.0
    for index in range(n):
        value = np.float64(values[index])
        centred = value - mean
        square = centred * centred
        second += square
        third += square * centred
        fourth += square * square
        deviation += abs(centred)
        within = (value >= quantiles[0]) & (value <= quantiles[4])
        inner_deviation += abs(value - inner_mean) if within else 0.0
    second, third, fourth = second / n, third / n, fourth / n

    entropy, uniformity = 0.0, 0.0
    for count in counts:
        share = count / n
        uniformity += share * share
        if count:
            entropy -= share * np.log2(share + EPSILON)
    found = np.empty(18)
    found[0], found[1] = quantiles[0], quantiles[4]
    found[2], found[15] = energy, energy
    found[3], found[16] = entropy, uniformity
    found[4] = quantiles[3] - quantiles[1]
    found[5] = fourth / (second * second) if second > 0 else 0.0
    found[6], found[7], found[8], found[9] = maximum, mean, deviation / n, quantiles[2]
    found[10], found[11] = minimum, maximum - minimum
    found[12] = inner_deviation / max(n_inner, 1)
    found[13] = np.sqrt(energy / n)
    found[14] = third / second**1.5 if second > 0 else 0.0
    found[17] = second
    return found
