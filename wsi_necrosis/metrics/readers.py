"""Agreement of readers: Bland-Altman limits, the intraclass correlation ICC(2,1), and weighted kappa of grades."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import f as f_distribution
from scipy.stats import t as t_distribution

from wsi_necrosis.errors import UsageError

NORMAL_95 = 1.96  # as the limits of agreement are published


@dataclass(frozen=True)
class BlandAltman:
    """Agreement of two readers who measured the same cases.

    Attributes
    ----------
    bias : float
        Mean of the first reader's values minus the second's.
    sd : float
        Standard deviation of the differences.
    low, high : float
        Limits of agreement, bias -+ 1.96 sd: about 95 % of differences lie between them.
    bias_interval, low_interval, high_interval : tuple of float
        95 % intervals of the bias and of each limit.
    n : int
        Cases.
    """

    bias: float
    sd: float
    low: float
    high: float
    bias_interval: tuple[float, float]
    low_interval: tuple[float, float]
    high_interval: tuple[float, float]
    n: int


@dataclass(frozen=True)
class Icc:
    """Intraclass correlation with its interval.

    `value` may be below 0 where readers agree less than by chance; the interval may then be NaN, as it is not defined.
    """

    value: float
    low: float
    high: float
    n_cases: int
    n_readers: int


def bland_altman(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> BlandAltman:
    """Bias and limits of agreement of two readers (Bland and Altman, Lancet 1986, i, 307-310).

    Parameters
    ----------
    first, second : array of float, (cases,)
        What each reader found; the order of the cases is the same.
    confidence : float
        Level of the intervals. The standard error of a limit is taken as sqrt(3 / n) sd, as published.

    Raises
    ------
    UsageError
        The readers differ in their number of cases, there are fewer than three, or a value is missing.

    Examples
    --------
    >>> found = bland_altman([10.0, 20.0, 30.0], [12.0, 20.0, 31.0])
    >>> found.bias, found.sd
    (-1.0, 1.0)
    """
    one, other = _complete(first, 1), _complete(second, 1)
    if len(one) != len(other) or len(one) < 3:
        raise UsageError(
            f"the readers measured {len(one)} and {len(other)} cases; give at least three, the same for both"
        )
    difference = one - other
    n, bias, sd = len(difference), float(difference.mean()), float(difference.std(ddof=1))
    t = float(t_distribution.ppf((1 + confidence) / 2, n - 1))
    of_bias, of_limit = t * sd / np.sqrt(n), t * sd * np.sqrt(3 / n)
    low, high = bias - NORMAL_95 * sd, bias + NORMAL_95 * sd
    return BlandAltman(
        bias=bias,
        sd=sd,
        low=low,
        high=high,
        bias_interval=(bias - of_bias, bias + of_bias),
        low_interval=(low - of_limit, low + of_limit),
        high_interval=(high - of_limit, high + of_limit),
        n=n,
    )


def icc(values: ArrayLike, confidence: float = 0.95) -> Icc:
    """ICC(2,1): agreement of single readers drawn from many, who all measured all cases.

    After Shrout and Fleiss, Psychological Bulletin 86 (1979), 420-428, with their interval.

    Parameters
    ----------
    values : array of float, (cases, readers)
        What each reader found.
    confidence : float
        Level of the interval.

    Raises
    ------
    UsageError
        There are fewer than two cases or readers, a value is missing, or no case differs from another.

    Examples
    --------
    >>> found = icc([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]])
    >>> round(found.value, 2)
    0.29
    """
    table = _complete(values, 2)
    n, k = table.shape
    if n < 2 or k < 2:
        raise UsageError(f"there are {n} cases of {k} readers; agreement takes at least two of each")
    grand = table.mean()
    between = k * ((table.mean(axis=1) - grand) ** 2).sum() / (n - 1)
    readers = n * ((table.mean(axis=0) - grand) ** 2).sum() / (k - 1)
    residual = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + grand
    error = (residual**2).sum() / ((n - 1) * (k - 1))
    spread = between + (k - 1) * error + k * (readers - error) / n
    if spread <= 0 or not np.ptp(table) > 0:
        raise UsageError("all readers gave one value to all cases; agreement cannot be told from chance")
    value = float((between - error) / spread)
    low, high = _icc_interval(value, (between, readers, error), (n, k), confidence)
    return Icc(value, low, high, n, k)


def weighted_kappa(
    first: ArrayLike,
    second: ArrayLike,
    grades: ArrayLike,
    weights: Literal["linear", "quadratic"] = "quadratic",
) -> float:
    """Cohen's weighted kappa of two readers' grades; NaN where both gave one and the same grade to all cases.

    Parameters
    ----------
    first, second : array, (cases,)
        Grades that each reader gave.
    grades : array
        All grades in their order, which fixes how far two of them are apart.
    weights : {"linear", "quadratic"}
        How disagreement grows with distance.

    Examples
    --------
    >>> weighted_kappa(["I", "II", "III"], ["I", "II", "III"], ["I", "II", "III", "IV"])
    1.0
    """
    from sklearn.metrics import cohen_kappa_score  # takes a second to import

    known = list(np.asarray(grades))
    strange = sorted(
        {str(grade) for grade in [*np.asarray(first), *np.asarray(second)]} - set(map(str, known))
    )
    if strange:
        raise UsageError(f"unknown grades {', '.join(strange)}; known are {', '.join(map(str, known))}")
    one, other = ([known.index(grade) for grade in np.asarray(each)] for each in (first, second))
    if len(set(one) | set(other)) < 2:
        return float("nan")
    return float(cohen_kappa_score(one, other, labels=range(len(known)), weights=weights))


def kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's kappa of two readers' labels without an order; NaN where both gave one and the same to all cases.

    Educational and Psychological Measurement 20 (1960), 37-46.

    Examples
    --------
    >>> round(kappa(["v", "v", "n", "o"], ["v", "n", "n", "o"]), 2)
    0.64
    """
    from sklearn.metrics import cohen_kappa_score  # takes a second to import

    one, other = np.asarray(first).astype(str), np.asarray(second).astype(str)
    return float(cohen_kappa_score(one, other)) if len({*one, *other}) > 1 else float("nan")


def _icc_interval(
    value: float, squares: tuple[float, float, float], shape: tuple[int, int], confidence: float
) -> tuple[float, float]:
    """Interval of ICC(2,1) by Satterthwaite's degrees of freedom; where all agree it is the value itself."""
    (between, readers, error), (n, k) = squares, shape
    if readers <= 0 and error <= 0:
        return value, value
    freedom, tail = float(k - 1), (1 + confidence) / 2  # the limit where readers differ by a constant alone
    if error > 0:
        ratio = readers / error
        top = (k - 1) * (n - 1) * (k * value * ratio + n * (1 + (k - 1) * value) - k * value) ** 2
        bottom = (n - 1) * k**2 * value**2 * ratio**2 + (n * (1 + (k - 1) * value) - k * value) ** 2
        freedom = top / bottom
    if not freedom > 0:
        return float("nan"), float("nan")
    upper, lower = f_distribution.ppf(tail, n - 1, freedom), f_distribution.ppf(tail, freedom, n - 1)
    rest = k * readers + (k * n - k - n) * error
    with np.errstate(invalid="ignore"):  # infinite limits, of less than one degree of freedom
        low = n * (between - upper * error) / (upper * rest + n * between)
        high = n * (lower * between - error) / (rest + n * lower * between)
    return float(low), float(high)


def _complete(values: ArrayLike, dimensions: int) -> NDArray[np.float64]:
    found = np.asarray(values, np.float64)
    if found.ndim != dimensions or not np.isfinite(found).all():
        raise UsageError("a reader's value is missing; give a number for each case, or leave the case out")
    return found
