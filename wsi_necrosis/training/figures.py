"""Figures of one training configuration, JSON-ready: means and standard deviations over its training seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.tiles import cases_of
from wsi_necrosis.metrics.cases import case_errors, one_hot
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.training.leave_case_out import certain_labels
from wsi_necrosis.training.samples import Samples

DIGITS = 4
Figure = dict[str, float] | None


def tile_table(samples: Samples, prob: NDArray[np.float64], bins: int) -> dict[str, Figure]:
    """Figures of tiles, each the mean over its crops, from held-out probabilities (k, m, 3)."""
    certain, labels = certain_labels(samples.tiles)
    return _spread([_figures(labels, samples.by_tile(one)[certain], bins) for one in prob])


def crop_table(samples: Samples, prob: NDArray[np.float64], bins: int) -> dict[str, Figure]:
    """Figures of single crops; one crop corresponds to one cell of a slide."""
    certain = samples.truth.max(axis=1) == 1
    labels = samples.truth[certain].argmax(axis=1)
    return _spread([_figures(labels, one[certain], bins) for one in prob])


def by_case_tables(samples: Samples, prob: NDArray[np.float64], bins: int) -> dict[str, dict[str, Figure]]:
    """Figures of the tiles of each case by itself."""
    return {
        case: tile_table(_of_case(samples, case), prob[:, samples.rows(_of_case(samples, case).tiles)], bins)
        for case in cases_of(samples.tiles)
    }


def case_table(samples: Samples, prob: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """Labels of each case, and its percent viable as labelled and as predicted, with equal weight for every tile."""
    truth = np.array([tile.truth for tile in samples.tiles])
    cases = [tile.case for tile in samples.tiles]
    found = [case_errors(truth, samples.by_tile(one), cases) for one in prob]
    table = {}
    for case in cases_of(samples.tiles):
        errors = [one[case] for one in found]
        labels = [tile.label for tile in samples.tiles if tile.case == case]
        table[case] = {
            "tiles": {name: labels.count(at) for at, name in enumerate(CLASSES)}
            | {"mixed": labels.count(None)},
            "truth": errors[0].truth,
            **{name: _mean_sd([getattr(error, name) for error in errors]) for name in ("soft", "hard")},
            **{
                name: _mean_sd([getattr(error, name) for error in errors])
                for name in ("soft_error", "hard_error")
            },
        }
    return table


def _of_case(samples: Samples, case: str) -> Samples:
    return samples.only([tile for tile in samples.tiles if tile.case == case])


def _figures(labels: NDArray[np.int64], prob: NDArray[np.float64], bins: int) -> dict[str, float | None]:
    """Figures of tiles of one class each; where there are none, no figure is defined."""
    if labels.size:
        return tile_figures(labels, prob, bins)
    return dict.fromkeys(tile_figures(np.zeros(1, np.int64), one_hot(np.zeros(1, np.int64)), bins))


def _spread(runs: Sequence[dict[str, float | None]]) -> dict[str, Figure]:
    return {name: _mean_sd([run[name] for run in runs]) for name in runs[0]}


def _mean_sd(values: Sequence[float | None]) -> Figure:
    """Mean and standard deviation; None where a value is not defined."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) or not known:
        return None
    return {"mean": round(float(np.mean(known)), DIGITS), "sd": round(float(np.std(known)), DIGITS)}
