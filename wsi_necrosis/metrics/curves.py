"""ROC curve (sensitivity over false positive rate) and reliability curve (accuracy over confidence)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics


@dataclass(frozen=True)
class Reliability:
    """Accuracy of the most probable class, in bins of its probability.

    Attributes
    ----------
    confidence, accuracy : float array (bins)
        Mean largest probability, and share of tiles where its class is the true one.
    count : int array (bins)
        Tiles; never 0.
    """

    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]

    @property
    def ece(self) -> float:
        """Expected calibration error: |accuracy - confidence|, each bin weighted by its tiles."""
        return float(np.average(np.abs(self.accuracy - self.confidence), weights=self.count))


def roc_curve(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False positive rate and sensitivity at each threshold, from "none" to "all".

    Tiles of equal score pass a threshold together, so the area under the straight lines between the
    points counts ties half. scikit-learn's curve with every point, and without its thresholds.

    Parameters
    ----------
    positive : bool array (n,)
        Tiles that should score high.
    score : float array (n,)
        Finite scores, on any scale.

    Returns
    -------
    tuple of float arrays (distinct scores + 1,)
        False positive rate (1 - specificity) and sensitivity; both rise from 0 to 1.

    Raises
    ------
    ValueError
        All tiles are positive, or none is.

    Examples
    --------
    >>> false_positive_rate, sensitivity = roc_curve(np.array([True, True, False]), np.array([3, 1, 2.0]))
    >>> false_positive_rate.tolist(), sensitivity.tolist()
    ([0.0, 0.0, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0])
    """
    n_positive = np.count_nonzero(positive)
    if n_positive in (0, positive.size):
        raise ValueError(f"{n_positive} of {positive.size} tiles are positive; a curve needs both kinds")
    false_positive_rate, sensitivity, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    return false_positive_rate, sensitivity


def reliability(labels: NDArray[np.int64], prob: NDArray[np.float64], bins: int) -> Reliability:
    """Confidence and accuracy in bins of equal count.

    Calibration is defined as by Naeini et al. (2015) and Guo et al. (2017), but with bins of equal count
    instead of equal width, as few tiles would leave most of those empty. Tiles of equal confidence share
    a bin, so the order of tiles does not matter; counts then differ, and there may be fewer bins.

    Parameters
    ----------
    labels : int array (n,)
        True classes; at least one tile.
    prob : float array (n, 3)
        Probabilities.
    bins : int
        Number of bins at most.

    Returns
    -------
    Reliability
        Bins from low to high confidence.

    References
    ----------
    Naeini MP, Cooper GF, Hauskrecht M (2015), Obtaining well calibrated probabilities using Bayesian
    binning, AAAI. Guo C, Pleiss G, Sun Y, Weinberger KQ (2017), On calibration of modern neural networks,
    ICML.
    """
    confidence, right = prob.max(axis=1), prob.argmax(axis=1) == labels
    edges = np.quantile(confidence, np.arange(1, bins) / bins, method="inverted_cdf")
    at = np.searchsorted(edges, confidence)
    count = np.bincount(at, minlength=bins)
    kept = count > 0
    sums = [np.bincount(at, values, bins)[kept] for values in (confidence, right)]
    return Reliability(sums[0] / count[kept], sums[1] / count[kept], count[kept])
