"""Calibration of single tiles: a temperature fitted on cases that the model has not seen, and what a tile's doubt is.

It serves the uncertainty of tiles. Probabilities that are summed into areas are never scaled (`model.quantity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

# Of every part of a description: no unknown key, no value of another type, no infinity and no NaN.
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
TEMPERATURES = 1e-3, 1e3  # beyond them all probabilities are alike, or all are 0 and 1
TINY = 1e-7  # keeps the logarithm of 0 finite


@dataclass(frozen=True)
class Temperature:
    """Softens or sharpens probabilities by one number.

    Attributes
    ----------
    value : float
        Log-probabilities are divided by it and normalised again. 1 changes nothing; larger values move the
        three classes towards a third each. Their order stays, so that no tile changes its class. Guo C et
        al. (2017), On calibration of modern neural networks, ICML.
    cases : int
        Cases that it was fitted to; 0 where it was not fitted.
    """

    value: float = 1.0
    cases: int = 0
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        if not (TEMPERATURES[0] <= self.value <= TEMPERATURES[1] and self.cases >= 0):
            raise ValueError("a temperature is finite and above 0 (from 0.001 to 1000), of no case or more")

    @classmethod
    def fit(
        cls, prob: NDArray[np.float64], truth: NDArray[np.float64], largest: float, cases: int = 0
    ) -> Self:
        """The temperature that minimises the cross-entropy of predictions for unseen cases.

        Parameters
        ----------
        prob, truth : float array (n, 3)
            Uncalibrated probabilities, and the true ones (0, 1, or one half for mixed tiles).
        largest : float
            The temperature lies between `1 / largest` and `largest`. Where predictions are no better than chance
            on unseen cases, it is `largest`.
        cases : int
            Cases that the predictions are for.
        """
        # scipy takes half a second to import; reading a model's description does not need it.
        from scipy.optimize import minimize_scalar
        from scipy.special import log_softmax

        log_prob = _log_prob(prob)

        def loss(log_t: float) -> float:
            return float(-(truth * log_softmax(log_prob / np.exp(log_t), axis=1)).sum())

        bound = float(np.log(largest))
        if not bound:
            return cls(cases=cases)
        found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded").x
        return cls(float(np.exp(found)), cases)

    def apply(self, prob: NDArray[np.floating]) -> NDArray[np.float32]:
        """Calibrated probabilities: float32 (n, 3), rows sum to 1; unchanged at a temperature of 1."""
        if self.value == 1.0:
            return prob.astype(np.float32)
        from scipy.special import softmax  # as in `fit`

        calibrated: NDArray[np.float32] = softmax(_log_prob(prob) / self.value, axis=1).astype(np.float32)
        return calibrated


def entropy(prob: NDArray[np.floating]) -> NDArray[np.float64]:
    """Entropy of class probabilities over its largest value.

    Parameters
    ----------
    prob : float array (..., classes)
        Probabilities; each row sums to 1.

    Returns
    -------
    float64 array (...)
        0 (certain) to 1 (all classes alike).

    Examples
    --------
    >>> entropy(np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]])).round(6).tolist()
    [0.0, 1.0]
    """
    safe = np.clip(prob.astype(np.float64), 1e-12, 1)
    return np.asarray(-(safe * np.log(safe)).sum(axis=-1) / np.log(prob.shape[-1]))


def _log_prob(prob: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(np.log(np.clip(prob.astype(np.float64), TINY, 1)))
