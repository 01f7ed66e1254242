"""First-order statistics of the values under a mask, equal to pyradiomics's.

No value is sorted: the ranks that the percentiles need are found by counting the bits of the numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.kernel import EPSILON, compiled, compiled_sum

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
HALF = 15  # bits of a key that its bucket leaves open


def first_order(values: npt.NDArray[np.float32], counts: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """First-order features in the order of `recipe.FIRST_ORDER`; all 0 where there is no value.

    Parameters
    ----------
    values
        float32, shape (n,), none below 0 (and no negative zero).
    counts
        Number of values in each bin; Entropy and Uniformity are of the bins.
    """
    if not values.size:
        return np.zeros(18)
    return _statistics(values, _order_statistics(values.view(np.uint32)).view(np.float32), counts)


@compiled
def _order_statistics(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """The keys at and just above the rank of each quantile: (2 * quantiles,).

    Bits of floats that are not negative are ordered as the floats are. A first count by the upper bits
    finds the bucket of each rank, a second one the key within it.
    """
    counts = np.zeros(1 << (31 - HALF), np.int32)  # the sign is never set
    for key in keys:
        counts[key >> HALF] += 1
    n = keys.size
    ranks = np.empty(2 * len(QUANTILES), np.int64)
    for q, quantile in enumerate(QUANTILES):
        ranks[2 * q] = int(quantile * (n - 1))
        ranks[2 * q + 1] = min(ranks[2 * q] + 1, n - 1)
    buckets, below = np.empty(ranks.size, np.int64), np.empty(ranks.size, np.int64)
    bucket, before = 0, 0
    for r, rank in enumerate(ranks):
        if rank < before:  # with few values a quantile's upper rank passes the next one's lower rank
            bucket, before = 0, 0
        while before + counts[bucket] <= rank:
            before += counts[bucket]
            bucket += 1
        buckets[r], below[r] = bucket, before
    slot_of = np.zeros(counts.size, np.uint8)
    n_slots = 0
    for r in range(ranks.size):
        if not slot_of[buckets[r]]:
            n_slots += 1
            slot_of[buckets[r]] = n_slots
    inner = np.zeros((n_slots + 1, 1 << HALF), np.int32)
    low = (1 << HALF) - 1
    for key in keys:
        slot = slot_of[key >> HALF]
        if slot:
            inner[slot, key & low] += 1
    found = np.empty(ranks.size, np.uint32)
    for r, rank in enumerate(ranks):
        counted, place = below[r], 0
        row = inner[slot_of[buckets[r]]]
        while counted + row[place] <= rank:
            counted += row[place]
            place += 1
        found[r] = (buckets[r] << HALF) | place
    return found


@compiled_sum
def _statistics(
    values: npt.NDArray[np.float32],
    neighbours: npt.NDArray[np.float32],
    counts: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64]:
    n = values.size
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
