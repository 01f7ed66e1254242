"""Percent viable tumour of a case from the predictions for its tiles, and its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE


@dataclass(frozen=True)
class CaseError:
    """Percent viable tumour of a case as labelled and as predicted; None stands for "no tumour".

    Attributes
    ----------
    truth : float or None
        Percent viable of the labels.
    soft, hard : float or None
        Percent viable predicted by adding up probabilities, and by counting the most probable classes.
    soft_error, hard_error : float or None
        Predicted minus true, in percentage points; None where either has no tumour.
    """

    truth: float | None
    soft: float | None
    hard: float | None
    soft_error: float | None
    hard_error: float | None


def percent_viable(prob: NDArray[np.float64]) -> float:
    """100 V / (V + X) over tiles of equal area, from (n, 3) probabilities; NaN without any tumour.

    Hard sums are the soft sums of one-hot probabilities, see `one_hot`.
    """
    viable, tumour = prob[:, VIABLE].sum(), prob[:, [NON_VIABLE, VIABLE]].sum()
    return float(100 * viable / tumour) if tumour > 0 else float("nan")


def one_hot(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (n, 3) that are 1 for the given class."""
    return np.eye(len(CLASSES))[classes]


def case_errors(
    truth: NDArray[np.float64], prob: NDArray[np.float64], cases: Sequence[str] | NDArray[np.str_]
) -> dict[str, CaseError]:
    """Percent viable of each case, with equal weight for every tile.

    Parameters
    ----------
    truth : float array (n, 3)
        True probabilities of each tile: `one_hot` of its class, or (0, .5, .5) for a mixed tile.
    prob : float array (n, 3)
        Probabilities of tiles whose case the model has not seen.
    cases : sequence of str (n)
        The case of each tile.

    Returns
    -------
    dict of CaseError
        By case, in the order in which they first occur.

    Raises
    ------
    ValueError
        The three do not have one row per tile.

    Examples
    --------
    >>> truth, prob = np.array([[0, 0.5, 0.5]]), np.array([[0.2, 0.2, 0.6]])
    >>> case_errors(truth, prob, ["P1"])["P1"]
    CaseError(truth=50.0, soft=75.0, hard=100.0, soft_error=25.0, hard_error=50.0)
    """
    names = np.asarray(cases, dtype=np.str_)
    if not truth.shape == prob.shape == (len(names), len(CLASSES)):
        raise ValueError(f"truth {truth.shape} and prob {prob.shape} do not fit {len(names)} tiles")
    rows = {case: names == case for case in dict.fromkeys(names.tolist())}
    return {case: _case_error(truth[mine], prob[mine]) for case, mine in rows.items()}


def _case_error(truth: NDArray[np.float64], prob: NDArray[np.float64]) -> CaseError:
    true = _none_if_nan(percent_viable(truth))
    soft = _none_if_nan(percent_viable(prob))
    hard = _none_if_nan(percent_viable(one_hot(prob.argmax(axis=1))))
    return CaseError(true, soft, hard, _minus(soft, true), _minus(hard, true))


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else value


def _minus(found: float | None, true: float | None) -> float | None:
    return None if found is None or true is None else found - true
