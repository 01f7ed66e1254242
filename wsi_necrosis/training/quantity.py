"""Which estimator of percent viable leads, and how far it is off, from slides simulated of left-out cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.dataset.tiles import cases_of
from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.simulation import (
    CELLS,
    DRAWS,
    NON_TUMOUR_SHARE,
    WAYS,
    Cells,
    Simulation,
    end_by_case,
    scenes_of,
    simulate,
    simulate_end,
)
from wsi_necrosis.model.quantity import (
    LEAST_PATIENTS,
    ConfusionShares,
    EndOfScale,
    EstimatorFigures,
    Quantity,
)
from wsi_necrosis.training.samples import Samples

DIGITS = 2  # of figures in percent
SHARE_DIGITS = 4  # of a share
LEAST_CASES = 2  # for an end of the scale: one says nothing of how cases differ


@dataclass(frozen=True)
class SimulatedQuantity:
    """What simulated slides say of a model's percent viable.

    Attributes
    ----------
    quantity : Quantity or None
        For `model.json`; None where left-out cases do not hold both kinds of tumour.
    figures : dict
        JSON-ready figures by way, group and scene, and by case at the ends of the scale; empty as above.
    """

    quantity: Quantity | None
    figures: dict[str, Any]


def measure_held_out(samples: Samples, prob: NDArray[np.float64], seed: int) -> SimulatedQuantity:
    """As `measure_quantity`, of the cases whose models had learned every class from the other cases.

    A model that was never shown viable tumour, say, tells nothing of one that was.
    """
    classes = {
        case: {tile.label for tile in samples.tiles if tile.case == case} for case in cases_of(samples.tiles)
    }
    every = set(range(len(CLASSES)))
    judged = {
        case
        for case in classes
        if every <= set().union(*(found for other, found in classes.items() if other != case))
    }
    tiles = [tile for tile in samples.tiles if tile.case in judged]
    return measure_quantity(samples.only(tiles), prob[:, samples.rows(tiles)], seed)


def measure_quantity(samples: Samples, prob: NDArray[np.float64], seed: int) -> SimulatedQuantity:
    """Simulate slides of crops of one class, with the predictions of models that have not seen their case.

    Parameters
    ----------
    samples : Samples
        Crops; those of mixed tiles take no part.
    prob : float array (k, m, 3)
        Held-out probabilities of the crops by each of k models or ensembles, before any temperature.
    seed : int
        Of the slides that are drawn; equal crops and seeds give equal slides, whatever the probabilities.
    """
    certain = samples.truth.max(axis=1) == 1
    cases = np.array([tile.case for tile in samples.tiles], np.str_)[samples.owner]
    cells = Cells(samples.truth[certain].argmax(axis=1), cases[certain], prob[:, certain])
    scenes = scenes_of(cells)
    if len({scene.percent for scene in scenes}) < 2:
        return SimulatedQuantity(None, {})
    found = simulate(cells, scenes, np.random.default_rng([seed, 0]))
    ends = {
        name: simulate_end(cells, percent, np.random.default_rng([seed, 1, percent]))
        for name, percent in (("blank", 0), ("full", 100))
    }
    soft, hard = (_figures(found, ends, way, _patients(cells, way)) for way in WAYS)
    quantity = Quantity("soft" if soft.rmse <= hard.rmse else "hard", soft, hard)
    return SimulatedQuantity(quantity, _table(found, ends))


def _figures(
    found: Simulation, ends: Mapping[str, Simulation], way: str, patients: tuple[ConfusionShares, ...]
) -> EstimatorFigures:
    slope, intercept = found.line(way)
    return EstimatorFigures(
        rmse=_rounded(found.rmse(way)),
        slope=_rounded(slope),
        intercept=_rounded(intercept),
        blank=_end(end_by_case(ends["blank"], way), highest=True),
        full=_end(end_by_case(ends["full"], way), highest=False),
        patients=patients,
    )


def _patients(cells: Cells, way: str) -> tuple[ConfusionShares, ...]:
    """Errors on each case with both kinds of tumour; of one without non-tumour, that row is of all cases together."""
    held = [case for case in cells.cases_with(NON_VIABLE) if case in cells.cases_with(VIABLE)]
    if len(held) < LEAST_PATIENTS:
        return ()
    counted = cells.prob if way == "soft" else one_hot(cells.prob.argmax(axis=2))
    by_crop = counted.mean(axis=0)

    def row(label: int, case: str) -> tuple[float, float, float]:
        rows = cells.rows(label, case)
        one, two, three = by_crop[rows if len(rows) else cells.rows(label)].mean(axis=0)
        return (
            round(float(one), SHARE_DIGITS),
            round(float(two), SHARE_DIGITS),
            round(float(three), SHARE_DIGITS),
        )

    return tuple((row(NON_TUMOUR, case), row(NON_VIABLE, case), row(VIABLE, case)) for case in held)


def _end(by_case: Mapping[str, tuple[float, float]], *, highest: bool) -> EndOfScale | None:
    if len(by_case) < LEAST_CASES:
        return None
    means, limits = zip(*by_case.values(), strict=True)
    limit = max(limits) if highest else min(limits)
    return EndOfScale(_rounded(float(np.mean(means))), _rounded(limit), len(by_case))


def _table(found: Simulation, ends: Mapping[str, Simulation]) -> dict[str, Any]:
    return {
        "cells": CELLS,
        "draws": DRAWS,
        "non_tumour_share": NON_TUMOUR_SHARE,
        "rmse": {way: _rounded(found.rmse(way)) for way in WAYS},
        "bias": {way: _rounded(found.bias(way)) for way in WAYS},
        "by_group": {
            group: {way: _rounded(found.rmse(way, group)) for way in WAYS} for group in found.groups
        },
        "scenes": [
            {"group": scene.group, "true": _rounded(scene.true)}
            | {way: _mean_sd(found.found[way][at]) for way in WAYS}
            for at, scene in enumerate(found.scenes)
        ],
        "ends": {name: _end_table(end) for name, end in ends.items()},
    }


def _end_table(end: Simulation) -> dict[str, Any]:
    """By case and way, the mean and the limit."""
    by_way = {way: end_by_case(end, way) for way in WAYS}
    return {
        scene.group: {
            way: dict(zip(("mean", "limit"), map(_rounded, by_way[way][scene.group]), strict=True))
            for way in WAYS
        }
        for scene in end.scenes
    }


def _mean_sd(values: NDArray[np.float64]) -> dict[str, float]:
    return {"mean": _rounded(float(values.mean())), "sd": _rounded(float(values.std()))}


def _rounded(value: float) -> float:
    return round(float(value), DIGITS)
