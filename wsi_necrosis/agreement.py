"""Against pathologists: how well tiles are told apart, and what that does to a percentage."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (3, 3): rows are true classes, columns are predicted ones."""
    k = len(CLASSES)
    return np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)


def tile_figures(labels: NDArray[np.int64], prob: NDArray[np.float64]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro-F1 and the recall of each class.

    Parameters
    ----------
    labels : int array (n,)
        True classes; means over classes run over those that occur here.
    prob : float array (n, 3)
        Probabilities of tiles whose case the model has not seen.

    Returns
    -------
    dict
        Values in [0, 1]; `recall_<class>` is left out for a class without tiles.
    """
    table = confusion(labels, prob.argmax(axis=1))
    hit, true, said = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    there = true > 0
    recall = hit[there] / true[there]
    f1 = 2 * hit[there] / (true + said)[there]
    figures = {
        "accuracy": float(hit.sum() / true.sum()),
        "balanced_accuracy": float(recall.mean()),
        "macro_f1": float(f1.mean()),
    }
    names = [f"recall_{name}" for name, occurs in zip(CLASSES, there, strict=True) if occurs]
    return figures | dict(zip(names, recall.tolist(), strict=True))


def percent_viable(prob: NDArray[np.float64]) -> float:
    """100 V / (V + X) over tiles of equal area, from (n, 3) probabilities; NaN without any tumour.

    Hard sums are the soft sums of one-hot probabilities, see `one_hot`.
    """
    viable, tumour = prob[:, VIABLE].sum(), prob[:, [NON_VIABLE, VIABLE]].sum()
    return float(100 * viable / tumour) if tumour > 0 else float("nan")


def one_hot(classes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probabilities (n, 3) that say one class each."""
    return np.eye(len(CLASSES))[classes]
