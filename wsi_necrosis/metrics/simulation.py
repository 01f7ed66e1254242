"""Slides simulated from predictions for left-out cases: how far percent viable is off, and what it reads at the ends.

A simulated slide is 300 cells drawn with replacement from crops whose class is known. Each crop was scored by a model
that has not seen its case, so that the error of a simulated slide is that of the model on a new case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.metrics.cases import one_hot

CELLS = 300  # of a slide: about 15 mm2 at 224 um, above which chance adds little to a case's own error
NON_TUMOUR_SHARE = 0.25  # so that tumour called non-tumour, and the reverse, count as they do on a slide
DRAWS = 20  # slides of each scene
END_DRAWS = 1000  # slides of each case at an end of the scale, enough for a 95 % point
MIXED_CASE = (0, 10, 30, 50, 70, 90, 100)  # percent viable of scenes from a case with both kinds of tumour
PAIR = (10, 30, 50, 70, 90)  # of scenes from two cases that hold one kind each
TAIL = 5  # percent of slides beyond a limit
WAYS = ("soft", "hard")

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Cells:
    """Crops whose class is certain, and what models that have not seen their case say of them.

    Attributes
    ----------
    labels : int array (m,)
        True classes.
    cases : str array (m,)
        Case of each crop.
    prob : float array (k, m, 3)
        Probabilities by each of k models, that no temperature has changed.
    """

    labels: NDArray[np.int64]
    cases: NDArray[np.str_]
    prob: NDArray[np.float64]

    def rows(self, label: int, *cases: str) -> Rows:
        """Crops of a class, of these cases or of all."""
        found = self.labels == label
        return np.flatnonzero(found & np.isin(self.cases, cases) if cases else found)

    def cases_with(self, label: int) -> tuple[str, ...]:
        """Cases that hold crops of a class, sorted."""
        return tuple(np.unique(self.cases[self.labels == label]).tolist())


@dataclass(frozen=True)
class Scene:
    """Slides that are simulated alike.

    Attributes
    ----------
    cases : tuple of str
        One case, or one that gives the non-viable tumour and one that gives the viable.
    percent : int
        Percent viable that is aimed at.
    """

    cases: tuple[str, ...]
    percent: int

    @property
    def group(self) -> str:
        """Name of the case or the pair."""
        return " x ".join(self.cases)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Cells of each class."""
        other = round(CELLS * NON_TUMOUR_SHARE)
        viable = round((CELLS - other) * self.percent / 100)
        return other, CELLS - other - viable, viable

    @property
    def true(self) -> float:
        """Percent viable of these cells."""
        _, gone, viable = self.counts
        return 100 * viable / (gone + viable)


@dataclass(frozen=True)
class Simulation:
    """Readings of simulated slides.

    Attributes
    ----------
    scenes : tuple of Scene
        The scenes.
    found : mapping of float arrays (scenes, k x draws)
        Percent viable by way, `soft` and `hard`.
    """

    scenes: tuple[Scene, ...]
    found: Mapping[str, NDArray[np.float64]]

    @property
    def true(self) -> NDArray[np.float64]:
        """True percent viable (scenes,)."""
        return np.array([scene.true for scene in self.scenes])

    @property
    def groups(self) -> tuple[str, ...]:
        """Cases and pairs, in the order of their scenes."""
        return tuple(dict.fromkeys(scene.group for scene in self.scenes))

    def rmse(self, way: str, group: str | None = None) -> float:
        """Root mean square error in points, over all slides or those of a group."""
        kept = np.array([group in {None, scene.group} for scene in self.scenes])
        error = self.found[way] - self.true[:, None]
        return float(np.sqrt((error[kept] ** 2).mean()))

    def bias(self, way: str) -> float:
        """Mean of found minus true in points."""
        return float((self.found[way] - self.true[:, None]).mean())

    def line(self, way: str) -> tuple[float, float]:
        """Slope and intercept (percent) of the least-squares line of found on true; these differ among scenes."""
        found = self.found[way]
        true = np.broadcast_to(self.true[:, None], found.shape)
        slope, intercept = np.polyfit(true.ravel(), found.ravel(), 1)
        return float(slope), float(intercept)


def scenes_of(cells: Cells) -> tuple[Scene, ...]:
    """Each case at what it holds, and pairs for the rest.

    A case with both kinds of tumour is taken from 0 to 100 %, one with a single kind at 0 or at 100, and each case
    without viable with each without non-viable tumour from 10 to 90.

    Examples
    --------
    >>> labels, cases = np.array([1, 2, 1, 2]), np.array(["both", "both", "dead", "alive"])
    >>> found = scenes_of(Cells(labels, cases, np.zeros((1, 4, 3))))
    >>> {group: [scene.percent for scene in found if scene.group == group] for group in ("dead", "dead x alive")}
    {'dead': [0], 'dead x alive': [10, 30, 50, 70, 90]}
    """
    gone, viable = cells.cases_with(NON_VIABLE), cells.cases_with(VIABLE)
    gone_alone = [case for case in gone if case not in viable]
    viable_alone = [case for case in viable if case not in gone]
    return (
        *(Scene((case,), percent) for case in gone if case in viable for percent in MIXED_CASE),
        *(Scene((case,), 0) for case in gone_alone),
        *(Scene((case,), 100) for case in viable_alone),
        *(Scene(pair, percent) for pair in product(gone_alone, viable_alone) for percent in PAIR),
    )


def simulate(
    cells: Cells, scenes: Sequence[Scene], rng: np.random.Generator, draws: int = DRAWS
) -> Simulation:
    """Simulate slides of every scene; all models and both ways see the same slides.

    Non-tumour comes from the scene's own cases where these have some, else from all. Where no predicted tumour is left
    on a slide, it reads the end of the scale that is farther from the truth.
    """
    readings = [_readings(cells, scene, rng, draws) for scene in scenes]
    found = {way: np.array([one[at] for one in readings]) for at, way in enumerate(WAYS)}
    return Simulation(tuple(scenes), MappingProxyType(found))


def simulate_end(cells: Cells, percent: int, rng: np.random.Generator, draws: int = END_DRAWS) -> Simulation:
    """Slides without viable tumour (`percent` 0), or without other tumour (100), of each case that allows it."""
    held = NON_VIABLE if percent == 0 else VIABLE
    return simulate(cells, [Scene((case,), percent) for case in cells.cases_with(held)], rng, draws)


def end_by_case(end: Simulation, way: str) -> dict[str, tuple[float, float]]:
    """By case, the mean reading, and the one that 5 % of slides lie beyond, away from the end of the scale."""
    found = {}
    for scene, readings in zip(end.scenes, end.found[way], strict=True):
        tail = 100 - TAIL if scene.percent == 0 else TAIL
        found[scene.group] = (float(readings.mean()), float(np.percentile(readings, tail)))
    return found


def _readings(
    cells: Cells, scene: Scene, rng: np.random.Generator, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Readings (k x draws) by soft sums and by hard counts of the slides of a scene."""
    times = np.zeros((draws, len(cells.labels)))
    for label, count in enumerate(scene.counts):
        rows = cells.rows(label, *scene.cases)
        if label == NON_TUMOUR and not len(rows):
            rows = cells.rows(NON_TUMOUR)
        if count and len(rows):
            times[:, rows] += rng.multinomial(count, np.full(len(rows), 1 / len(rows)), size=draws)
    hard = one_hot(cells.prob.argmax(axis=2))
    return _percent(times @ cells.prob, scene), _percent(times @ hard, scene)


def _percent(area: NDArray[np.float64], scene: Scene) -> NDArray[np.float64]:
    """Percent viable (k x draws) of areas by class (k, draws, 3)."""
    viable, tumour = area[..., VIABLE], area[..., [NON_VIABLE, VIABLE]].sum(axis=-1)
    worst = 100.0 if scene.percent < 50 else 0.0
    found = np.divide(100 * viable, tumour, out=np.full(tumour.shape, worst), where=tumour > 0)
    return np.asarray(found.ravel())
