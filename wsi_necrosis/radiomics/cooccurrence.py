"""Grey level co-occurrence: how often levels i and j lie at an offset from one another.

Formulas are those of pyradiomics's GLCM with `symmetricalGLCM = True` and no weighting: each offset has
its own matrix, and a feature is the mean over the offsets that any two pixels of the mask have.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from wsi_necrosis.jit import EPSILON, compiled, compiled_sum

MCC = 19  # its index in `families.GLCM`
NOISE = 1e-28  # squared eigenvalues below it are rounding
SQUARINGS = 30  # enough to separate eigenvalues that differ within their first nine digits

Levels = npt.NDArray[np.uint8]


def glcm(
    levels: Levels, pad: int, n_levels: int, n_held: int, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """GLCM features in the order of `families.GLCM`; 0 where no two pixels of the mask meet.

    Parameters
    ----------
    levels
        1 to `n_levels` in the mask, 0 outside it and in a border of `pad` pixels; uint8 (h, w).
    pad
        Width of the border, at least the largest offset.
    n_levels
        Highest level.
    n_held
        Number of levels that occur.
    offsets
        Rows and columns from a pixel to its partner, int64 (n, 2), one of each opposite pair; n is a multiple of 4.
    """
    mean = _mean_features(levels, pad, n_levels, offsets)
    if n_held == 1:
        mean[MCC] = 1.0  # one level correlates with itself, as pyradiomics has it
    return mean


@compiled
def _mean_features(
    levels: Levels, pad: int, n_levels: int, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    counts = _count(levels, pad, n_levels, offsets)
    total, n = np.zeros(24), 0
    for count in counts:
        if count[1:, 1:].any():
            total += _features(_symmetric(count))
            n += 1
    mean: npt.NDArray[np.float64] = total / max(n, 1)
    return mean


@compiled
def _symmetric(count: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Shares of the pairs of levels, level i in row i - 1, whichever of the two comes first."""
    n = len(count) - 1
    shares, total = np.empty((n, n)), 2 * count[1:, 1:].sum()
    for i in range(n):
        for j in range(n):
            shares[i, j] = (count[i + 1, j + 1] + count[j + 1, i + 1]) / total
    return shares


@compiled
def _count(levels: Levels, pad: int, n_levels: int, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Pairs by offset, level, and level of the partner, 0 where it lies outside: (n, n_levels + 1, n_levels + 1).

    Offsets are taken by fours (their number is a multiple of four), so that the processor need not finish
    one count before it begins the next.
    """
    height, width = levels.shape
    counts = np.zeros((len(offsets), n_levels + 1, n_levels + 1), np.int64)
    for y in range(pad, height - pad):
        here = levels[y, pad : width - pad]
        for k in range(0, len(offsets), 4):
            x = pad + offsets[k : k + 4, 1]
            there_0 = levels[y + offsets[k, 0], x[0] : x[0] + here.size]
            there_1 = levels[y + offsets[k + 1, 0], x[1] : x[1] + here.size]
            there_2 = levels[y + offsets[k + 2, 0], x[2] : x[2] + here.size]
            there_3 = levels[y + offsets[k + 3, 0], x[3] : x[3] + here.size]
            count_0, count_1, count_2, count_3 = counts[k], counts[k + 1], counts[k + 2], counts[k + 3]
            for i in range(here.size):
                level = here[i]
                if level:
                    count_0[level, there_0[i]] += 1
                    count_1[level, there_1[i]] += 1
                    count_2[level, there_2[i]] += 1
                    count_3[level, there_3[i]] += 1
    return counts


@compiled
def _features(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Features of one symmetric matrix of shares, (n_levels, n_levels); level i is row i - 1."""
    n = len(p)
    px, plus, minus = np.zeros(n), np.zeros(2 * n + 1), np.zeros(n)
    mean = 0.0
    for i in range(n):
        for j in range(n):
            px[i] += p[i, j]
        mean += (i + 1) * px[i]
    auto, energy, top, h_xy, h_xy1, h_xy2, h_x = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    prominence, shade, tendency, covariance, variance = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(n):
        if px[i] == 0:
            continue
        h_x -= px[i] * np.log2(px[i] + EPSILON)
        variance += px[i] * (i + 1 - mean) ** 2
        for j in range(n):
            product = px[i] * px[j]
            if product == 0:
                continue
            log_product = np.log2(product + EPSILON)
            h_xy2 -= product * log_product
            share = p[i, j]
            if share == 0:
                continue
            plus[i + j + 2] += share
            minus[abs(i - j)] += share
            auto += share * (i + 1) * (j + 1)
            energy += share * share
            top = max(top, share)
            h_xy -= share * np.log2(share + EPSILON)
            h_xy1 -= share * log_product
            both = i + j + 2 - 2 * mean
            tendency += share * both**2
            shade += share * both**3
            prominence += share * both**4
            covariance += share * (i + 1 - mean) * (j + 1 - mean)
    distance, distance_squared, distance_entropy, inverse_squared = 0.0, 0.0, 0.0, 0.0
    nearness, nearness_squared, relative, relative_squared = 0.0, 0.0, 0.0, 0.0
    for k in range(n):
        share = minus[k]
        distance += share * k
        distance_squared += share * k**2
        distance_entropy -= share * np.log2(share + EPSILON)
        inverse_squared += share / k**2 if k else 0.0
        nearness += share / (1 + k)
        nearness_squared += share / (1 + k**2)
        relative += share / (1 + k / n)
        relative_squared += share / (1 + k**2 / n**2)
    distance_variance = 0.0
    for k in range(n):
        distance_variance += minus[k] * (k - distance) ** 2
    total, total_entropy = 0.0, 0.0
    for k in range(2, 2 * n + 1):
        total += plus[k] * k
        total_entropy -= plus[k] * np.log2(plus[k] + EPSILON)
    correlation = 1.0 if variance == 0 else covariance / (variance + EPSILON)
    imc1 = (h_xy - h_xy1) / h_x if h_x != 0 else 0.0
    imc2 = np.sqrt(max(1 - np.exp(-2 * (h_xy2 - h_xy)), 0.0))
    return np.array(
        [
            auto, prominence, shade, tendency, distance_squared, correlation, distance, distance_entropy,
            distance_variance, nearness, nearness_squared, relative_squared, relative, imc1, imc2,
            inverse_squared, mean, energy, h_xy, _maximal_correlation(p, px), top, total, total_entropy, variance,
        ]
    )  # fmt: skip


@compiled
def _maximal_correlation(p: npt.NDArray[np.float64], px: npt.NDArray[np.float64]) -> float:
    """Maximal correlation coefficient: root of the second largest eigenvalue of Q.

    Q = (P / (px px^T + epsilon)) P. But for epsilon it is similar to the square of the symmetric
    S = P / sqrt(px px^T), whose first eigenvector is sqrt(px); what is left of S without it has the second
    one. Epsilon then enters by the Rayleigh quotient of Q at the left and the right eigenvector that belong
    to S, which errs by the square of its effect.
    """
    present = np.flatnonzero(px)
    n = present.size
    if n < 2:
        return 0.0
    root = np.sqrt(px[present])
    s = np.zeros((-(-n // 4) * 4, -(-n // 4) * 4))  # padded to a multiple of 4 for `_square`
    for i in range(n):
        for j in range(n):
            s[i, j] = p[present[i], present[j]] / (root[i] * root[j]) - root[i] * root[j]
    vector = _first_eigenvector(s)[:n]
    vector = _unit(vector - (root * vector).sum() * root)  # without rounding remains of the first
    quotient = 0.0
    for k in range(n):
        left, right = 0.0, 0.0
        for i in range(n):
            share = p[present[k], present[i]]
            left += root[i] * vector[i] * share / (px[present[i]] * px[present[k]] + EPSILON)
            right += share * vector[i] / root[i]
        quotient += left * right
    return float(np.sqrt(max(quotient, 0.0)))


@compiled
def _first_eigenvector(s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Eigenvector of the eigenvalue of largest size of a symmetric matrix, which is overwritten; 0 if there is none.

    Repeated squares of the matrix, each scaled to trace 1, tend to the projection on it; once their sum of
    squares exceeds 0.9, a few steps of the power method remove the other eigenvectors.
    """
    square = np.empty_like(s)
    for _ in range(SQUARINGS):
        _square(s, square)
        trace = np.trace(square)
        if trace < NOISE:
            return np.zeros(len(s))
        square /= trace
        s, square = square, s
        if (s * s).sum() > 0.9:  # the sum of squared eigenvalues
            break
    vector = s[np.argmax(np.diag(s))].copy()
    for _ in range(6):
        vector = (s * _unit(vector)).sum(axis=1)
    found: npt.NDArray[np.float64] = vector
    return found


@compiled
def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The vector at length 1; the zero vector itself."""
    length = np.sqrt((vector * vector).sum())
    unit: npt.NDArray[np.float64] = vector / length if length > 0 else vector
    return unit


@compiled_sum
def _square(s: npt.NDArray[np.float64], square: npt.NDArray[np.float64]) -> None:
    """Fill `square` with s s; their size is a multiple of 4."""
    square[:] = 0
    for i in range(len(s)):
        for k in range(0, len(s), 4):
            a, b, c, d = s[i, k], s[i, k + 1], s[i, k + 2], s[i, k + 3]
            for j in range(len(s)):
                square[i, j] += a * s[k, j] + b * s[k + 1, j] + (c * s[k + 2, j] + d * s[k + 3, j])
