"""Percent viable of a case from a few cells drawn at random and labelled: which are drawn, and what they tell.

Cells are drawn with replacement, in proportion to their tissue area, within each class that the model predicted. The
labels alone decide the percentage; the model's classes are strata, which make it narrower where the model is good and
leave it right where it is not. The interval is that of Korn and Graubard (Survey Methodology 24, 1998, 193-201): a
binomial interval on the effective number of labels, here the mid-P interval (Berry and Armitage, The Statistician 44,
1995, 417-423). It covers the chance of the draw; it does not cover readers' disagreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import betainc

from wsi_necrosis.errors import UsageError

LEAST_DRAWN = 2  # of a class: one label has no variance
GAIN = 2.0  # most by which a model may multiply the number of labels: the defence against a lucky sample
# Mean width of the interval in percentage points by number of labels, over 2,160 simulated settings.
MEAN_WIDTHS = ((10, 48.0), (20, 31.0), (40, 20.0), (80, 13.0), (150, 9.0))
FIXED_ALPHA, ROUNDS_ALPHA = (
    0.05,
    0.03,
)  # labels whose number was fixed, and labelled in rounds until narrow enough


@dataclass(frozen=True)
class Corrected:
    """Percent viable by labels.

    Attributes
    ----------
    share : float
        Viable tumour over tumour, from 0 to 1.
    low, high : float
        Ends of the interval.
    labels : int
        Labels that were given.
    tumour_labels : int
        Those that were tumour.
    effective : float
        Tumour labels that a draw without the model would have needed for the same interval.
    """

    share: float
    low: float
    high: float
    labels: int
    tumour_labels: int
    effective: float


def allocate(shares: ArrayLike, labels: int) -> NDArray[np.int64]:
    """How many cells are drawn in each predicted class: int64, in the order of `shares`.

    Two in each class that has area, then each next one where share / (2 n + 1) is largest (Webster's method), so that
    more labels never take one away.

    Parameters
    ----------
    shares : array of float
        Share of the tissue area that each class has.
    labels : int
        Cells to draw in all.

    Raises
    ------
    UsageError
        There are fewer labels than two for each class with area.

    Examples
    --------
    >>> allocate([0.3, 0.5, 0.2], 20).tolist()
    [6, 10, 4]
    """
    area = np.asarray(shares, np.float64)
    drawn = np.where(area > 0, LEAST_DRAWN, 0)
    if labels < drawn.sum():
        raise UsageError(
            f"{labels} cells are too few for {np.count_nonzero(area)} predicted classes; draw at least {drawn.sum()}"
        )
    while drawn.sum() < labels:
        drawn[np.argmax(area / (2 * drawn + 1))] += 1
    return drawn


def draw(areas: ArrayLike, classes: ArrayLike, labels: int, seed: int) -> NDArray[np.int64]:
    """Draw cells to label, with replacement.

    Parameters
    ----------
    areas : array of float, (cells,)
        Tissue area of each cell, in any unit.
    classes : array of int, (cells,)
        Class that was predicted for each; the same for all where there is no model.
    labels : int
        Cells to draw in all.
    seed : int
        The same seed and more labels give the same cells and more.

    Returns
    -------
    array of int64, (labels,)
        Places of the drawn cells, class by class; one that was drawn twice stands twice.

    Raises
    ------
    UsageError
        There is no tissue, or there are too few labels for the classes.
    """
    area, predicted = np.asarray(areas, np.float64), np.asarray(classes)
    if not area.sum() > 0:
        raise UsageError(
            "no cell holds tissue, so that none can be drawn; look at the slides and their tissue masks"
        )
    names = np.unique(predicted)
    shares = np.array([area[predicted == name].sum() for name in names]) / area.sum()
    found = [
        _drawn(area, np.flatnonzero(predicted == name), count, np.random.default_rng((seed, int(name))))
        for name, count in zip(names, allocate(shares, labels), strict=True)
    ]
    return np.concatenate(found)


def correct(
    shares: Sequence[float],
    drawn: Sequence[int],
    viable: Sequence[int],
    non_viable: Sequence[int],
    alpha: float = FIXED_ALPHA,
) -> Corrected | None:
    """Percent viable and its interval from labels, by predicted class.

    Parameters
    ----------
    shares : sequence of float
        Share of the tissue area that each predicted class has; they sum to 1.
    drawn, viable, non_viable : sequences of int
        Labels given in each class, and how many of them were viable and non-viable tumour. A cell drawn twice counts
        twice.
    alpha : float
        1 - the level of the interval: .05 where the number of labels was fixed beforehand, .03 where a person labelled
        in rounds until it was narrow enough.

    Returns
    -------
    Corrected or None
        None where no label is tumour.

    Examples
    --------
    >>> found = correct([0.3, 0.5, 0.2], [6, 10, 4], [0, 0, 4], [1, 10, 0])
    >>> [round(value, 4) for value in (found.share, found.low, found.high, found.effective)]
    [0.2667, 0.1322, 0.4443, 30.0]
    """
    held = np.asarray(shares, np.float64) > 0
    w, n, v, x = (np.asarray(each, np.float64)[held] for each in (shares, drawn, viable, non_viable))
    if n.min() < LEAST_DRAWN:
        raise UsageError(
            f"a predicted class has fewer than {LEAST_DRAWN} labels; label the cells that were drawn"
        )
    p, q = v / n, x / n
    tumour = float(w @ (p + q))
    if tumour == 0:
        return None
    share = float(w @ p) / tumour
    plain = tumour / float((w**2 / n).sum())
    if share in {0.0, 1.0}:
        effective = plain
    else:
        spread = (1 - share) ** 2 * p + share**2 * q - ((1 - share) * p - share * q) ** 2
        variance = float((w**2 * spread / (n - 1)).sum()) / tumour**2
        effective = min(GAIN * plain, share * (1 - share) / variance if variance > 0 else np.inf)
    low, high = mid_p(share * effective, effective, alpha)
    return Corrected(share, low, high, int(n.sum()), int((v + x).sum()), effective)


def labels_for_width(width: float) -> int:
    """Labels that an interval of a width in percentage points takes on average, between and beyond `MEAN_WIDTHS`.

    Examples
    --------
    >>> labels_for_width(20.0)
    40
    """
    labels, widths = np.log(np.array(MEAN_WIDTHS).T)
    slope = (labels[-1] - labels[-2]) / (widths[-1] - widths[-2])
    wanted = np.log(width)
    beyond = labels[-1] + slope * (wanted - widths[-1])
    between = np.interp(wanted, widths[::-1], labels[::-1])
    return int(np.ceil(np.exp(beyond if wanted < widths[-1] else between) - 1e-9))


def mid_p(hits: float, trials: float, alpha: float = FIXED_ALPHA) -> tuple[float, float]:
    """Mid-P interval of a share; hits and trials may be fractions.

    Examples
    --------
    >>> [round(end, 3) for end in mid_p(4, 10)]
    [0.142, 0.709]
    """
    return _low(hits, trials, alpha), 1 - _low(trials - hits, trials, alpha)


def _low(hits: float, trials: float, alpha: float) -> float:
    if hits <= 0:
        return 0.0
    if hits >= trials:
        return float(alpha ** (1 / trials))

    def excess(share: float) -> float:
        tails = betainc(hits, trials - hits + 1, share) + betainc(hits + 1, trials - hits, share)
        return float(tails - alpha) / 2

    return float(brentq(excess, 0.0, 1.0, xtol=1e-12))


def _drawn(
    area: NDArray[np.float64], cells: NDArray[np.int64], count: int, chance: np.random.Generator
) -> NDArray[np.int64]:
    """Cells drawn in proportion to area; more of them begin with the same ones."""
    ends = np.cumsum(area[cells])
    return cells[np.searchsorted(ends, chance.random(count) * ends[-1], side="right")] if count else cells[:0]
