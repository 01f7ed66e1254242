"""Classification metrics of tiles that have one certain class each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import auc

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.curves import reliability, roc_curve

FALSE_ALARMS = 0.1  # false positive rate at a specificity of 90 %
LEAST_PROB = 1e-12  # keeps the log loss finite where the true class has probability 0

Tables = NDArray[np.int64] | NDArray[np.float64]


def confusion(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts (3, 3): rows are true classes, columns are predicted ones."""
    k = len(CLASSES)
    return np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)


def missing_classes(labels: NDArray[np.int64]) -> tuple[str, ...]:
    """Names of the classes that no tile has; their figures are None."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    return tuple(name for name, count in zip(CLASSES, counts, strict=True) if count == 0)


def tile_figures(
    labels: NDArray[np.int64], prob: NDArray[np.float64], bins: int = 10
) -> dict[str, float | None]:
    """Figures of tiles that have one certain class each; mixed tiles are left out beforehand.

    The predicted class is the most probable one. "One against the rest" takes the probability of a class as
    the score for it.

    Parameters
    ----------
    labels : int array (n,)
        True classes; at least one tile.
    prob : float array (n, 3)
        Probabilities of tiles whose case the model has not seen.
    bins : int
        For `ece`, see `reliability`.

    Returns
    -------
    dict
        A figure that is not defined is None.

        - `accuracy`, `balanced_accuracy`, `macro_f1`: the means run over the classes that occur here.
        - `recall_<class>`: share of its tiles that are predicted as such; None for a class without tiles.
        - `auc_<class>`: one against the rest, the probability that a tile of the class scores above one of
          the rest, ties counting half; None where either has no tiles. `auc_macro`: the mean of those that
          are defined.
        - `sensitivity_at_90_<class>`: one against the rest, the largest sensitivity of any threshold
          whose specificity is at least 90 % on the same tiles; None as for the area.
        - `brier`: mean over tiles of the sum over classes of the squared difference between probability
          and truth (Brier 1950); from 0 to 2, as a certain error counts for two classes.
        - `ece`: expected calibration error of the largest probability, from 0 to 1.
        - `log_loss`: mean of -ln p(true class), p clipped at 1e-12.

    Raises
    ------
    ValueError
        There are no tiles.
    """
    if not labels.size:
        raise ValueError("there are no tiles of certain class to take figures of")
    table = confusion(labels, prob.argmax(axis=1))
    figures: dict[str, float | None] = {name: float(of(table)) for name, of in TABLE_FIGURES.items()}
    figures |= _recalls(table) | _against_rest(labels, prob)
    true_prob = np.take_along_axis(prob, labels[:, None], axis=1)
    return figures | {
        "brier": float(((prob - one_hot(labels)) ** 2).sum(axis=1).mean()),
        "ece": reliability(labels, prob, bins).ece,
        "log_loss": float(-np.log(np.clip(true_prob, LEAST_PROB, 1)).mean()),
    }


def _recalls(table: Tables) -> dict[str, float | None]:
    found = zip(CLASSES, table.diagonal().tolist(), table.sum(axis=1).tolist(), strict=True)
    return {f"recall_{name}": hit / n if n else None for name, hit, n in found}


def _against_rest(labels: NDArray[np.int64], prob: NDArray[np.float64]) -> dict[str, float | None]:
    pairs = [_area_and_sensitivity(labels == at, prob[:, at]) for at in range(len(CLASSES))]
    areas, sensitivities = zip(*pairs, strict=True)
    known = [area for area in areas if area is not None]
    return {
        **{f"auc_{name}": area for name, area in zip(CLASSES, areas, strict=True)},
        "auc_macro": float(np.mean(known)) if known else None,
        **{f"sensitivity_at_90_{name}": value for name, value in zip(CLASSES, sensitivities, strict=True)},
    }


def _area_and_sensitivity(
    positive: NDArray[np.bool_], score: NDArray[np.float64]
) -> tuple[float | None, float | None]:
    """Area under the curve, and sensitivity at 90 % specificity; None where all tiles or none are positive."""
    if positive.all() or not positive.any():
        return None, None
    false_positive_rate, sensitivity = roc_curve(positive, score)
    return float(auc(false_positive_rate, sensitivity)), float(
        sensitivity[false_positive_rate <= FALSE_ALARMS].max()
    )


def _accuracy(tables: Tables) -> NDArray[np.float64]:
    return np.asarray(_hits(tables).sum(axis=-1) / tables.sum(axis=(-2, -1)))


def _balanced_accuracy(tables: Tables) -> NDArray[np.float64]:
    return _mean_of_classes(_hits(tables), tables.sum(axis=-1), tables)


def _macro_f1(tables: Tables) -> NDArray[np.float64]:
    return _mean_of_classes(2 * _hits(tables), tables.sum(axis=-1) + tables.sum(axis=-2), tables)


def _hits(tables: Tables) -> Tables:
    return tables.diagonal(axis1=-2, axis2=-1)


def _mean_of_classes(part: Tables, whole: Tables, tables: Tables) -> NDArray[np.float64]:
    """Mean of part / whole over the classes that occur, along the last axis."""
    present = tables.sum(axis=-1) > 0
    share = np.where(present, part / np.where(present, whole, 1), 0)
    return np.asarray(share.sum(axis=-1) / present.sum(axis=-1))


# Figures of confusion tables (..., 3, 3); a bootstrap computes them for thousands of tables at once.
TABLE_FIGURES: Mapping[str, Callable[[Tables], NDArray[np.float64]]] = MappingProxyType(
    {"accuracy": _accuracy, "balanced_accuracy": _balanced_accuracy, "macro_f1": _macro_f1}
)
