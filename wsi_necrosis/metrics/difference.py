"""Difference of two training variants on the same tiles with the same seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.metrics.figures import TABLE_FIGURES, Tables
from wsi_necrosis.settings.evaluation import EvaluationSettings


@dataclass(frozen=True)
class Difference:
    """A figure of variant A minus that of variant B; neither interval covers the variation between cases.

    Attributes
    ----------
    mean : float
        Mean over seeds.
    by_seed : tuple of float or None
        Ends of Student's t interval of the paired differences: variation with other seeds on the same
        tiles. None with fewer than two seeds.
    by_tile : tuple of float
        Ends of the percentile interval of a bootstrap over tiles: variation with other tiles of the same
        cases and the same seeds. Neighbouring tiles correlate, so it is too narrow.
    n_seeds, n_tiles : int
        Number of seeds and tiles.
    confidence : float
        Nominal coverage of both.
    """

    mean: float
    by_seed: tuple[float, float] | None
    by_tile: tuple[float, float]
    n_seeds: int
    n_tiles: int
    confidence: float


def paired_difference(
    labels: NDArray[np.int64],
    prob_a: NDArray[np.float64],
    prob_b: NDArray[np.float64],
    settings: EvaluationSettings,
    metric: str = "macro_f1",
) -> Difference:
    """Difference of two variants in a figure of the predicted classes, with two intervals.

    The bootstrap draws the tiles of each class with replacement, so that no class vanishes and their
    shares stay. A draw counts the same tiles for both variants and all seeds, and its figure is averaged over
    seeds. Both intervals leave out the variation between cases, laboratories and patients, which with few
    cases is far larger than either.

    Parameters
    ----------
    labels : int array (n,)
        True classes.
    prob_a, prob_b : float array (seeds, n, 3)
        Probabilities of variants A and B, for the same seeds and tiles in the same order.
    settings : EvaluationSettings
        `bootstrap_draws`, `confidence`, and `seed` of the draws.
    metric : str
        `macro_f1`, `accuracy` or `balanced_accuracy`, as in `tile_figures`.

    Returns
    -------
    Difference
        Above 0 where A is the better variant.

    Raises
    ------
    ValueError
        The metric is unknown, or the variants do not have the same seeds and tiles.
    """
    if metric not in TABLE_FIGURES:
        raise ValueError(
            f"{metric!r} is no figure of a confusion table; use one of {', '.join(TABLE_FIGURES)}"
        )
    n_seeds, n_tiles = prob_a.shape[0], labels.size
    if not prob_a.shape == prob_b.shape == (n_seeds, n_tiles, len(CLASSES)):
        raise ValueError(
            f"variants {prob_a.shape} and {prob_b.shape} are not (seeds, {n_tiles}, {len(CLASSES)})"
        )
    figure = TABLE_FIGURES[metric]
    predicted = np.stack([prob_a, prob_b]).argmax(axis=-1)
    once = np.ones((1, n_tiles))
    times = _times(labels, settings.bootstrap_draws, np.random.default_rng(settings.seed))
    of_a, of_b = figure(_tables(labels, predicted, once))[0]
    drawn = figure(_tables(labels, predicted, times)).mean(axis=-1)
    return Difference(
        mean=float((of_a - of_b).mean()),
        by_seed=_student(of_a - of_b, settings.confidence),
        by_tile=_percentiles(drawn[:, 0] - drawn[:, 1], settings.confidence),
        n_seeds=n_seeds,
        n_tiles=n_tiles,
        confidence=settings.confidence,
    )


def _times(labels: NDArray[np.int64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each tile is drawn (draws, n); each class keeps its number of tiles."""
    times = np.zeros((draws, labels.size))
    for true in np.unique(labels):
        rows = np.flatnonzero(labels == true)
        times[:, rows] = rng.multinomial(rows.size, np.full(rows.size, 1 / rows.size), size=draws)
    return times


def _tables(labels: NDArray[np.int64], predicted: NDArray[np.int64], times: NDArray[np.float64]) -> Tables:
    """Confusion tables (draws, *variants, 3, 3) of predictions (*variants, n), tiles weighted by `times` (draws, n)."""
    one_hot = np.eye(len(CLASSES))[predicted]
    rows = [
        np.tensordot(times[:, labels == true], one_hot[..., labels == true, :], axes=(1, -2))
        for true in range(len(CLASSES))
    ]
    return np.stack(rows, axis=-2)


def _student(values: NDArray[np.float64], confidence: float) -> tuple[float, float] | None:
    if values.size < 2:
        return None
    error = values.std(ddof=1) / np.sqrt(values.size)
    half_width = float(stdtrit(values.size - 1, (1 + confidence) / 2) * error)
    mean = float(values.mean())
    return mean - half_width, mean + half_width


def _percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail]).tolist()
    return low, high
