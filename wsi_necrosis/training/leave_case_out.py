"""Predictions for left-out cases.

One case is left out at a time: tiles of a case are near-duplicates, so any other split gives figures that are
too good. Only a model's temperature, its OOD limit and its estimator of percent viable are chosen by these
predictions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.tiles import LabelledTile, leave_case_out
from wsi_necrosis.model.network import Backbone
from wsi_necrosis.pace import paced
from wsi_necrosis.provenance import digest
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import Epoch, Fitted, Predicted, ResumePoint, fit, predict
from wsi_necrosis.training.samples import Samples, intra_op_threads

LEAST_DIFFERENCE = 1e-6  # of weights; less is rounding
T = TypeVar("T")
Watch = Callable[[str, Epoch], None]


@dataclass(frozen=True)
class HeldOut:
    """Predictions for every crop by models that have not seen its case.

    Attributes
    ----------
    prob : float64 array (seeds, m, 3)
        Uncalibrated probabilities.
    gate : float64 array (seeds, m, 2)
        Weights of the branches.
    history : mapping
        Epochs of each fit, by `<left-out case>-<seed>`.
    """

    prob: NDArray[np.float64]
    gate: NDArray[np.float64]
    history: Mapping[str, tuple[Epoch, ...]]

    @property
    def seeds(self) -> int:
        """Number of training seeds."""
        return len(self.prob)

    @property
    def weighs(self) -> bool:
        """Whether the weights of the branches differ from crop to crop, as only those of a gate do."""
        return bool(np.isfinite(self.gate).all() and np.ptp(self.gate[..., 0]) > LEAST_DIFFERENCE)

    def ensembles(self, members: int) -> NDArray[np.float64]:
        """Mean probabilities (k, m, 3) of every choice of `members` seeds, or of all seeds where there are fewer."""
        chosen = combinations(range(self.seeds), min(members, self.seeds))
        return np.stack([self.prob[list(some)].mean(axis=0) for some in chosen])


def threads_of(settings: TrainSettings) -> int:
    """Intra-op threads of a fit: those of all workers where the backbone learns."""
    return 1 if settings.fit.tune == "frozen" else settings.crops.workers


def silent(name: str, epoch: Epoch) -> None:
    """Ignore an epoch."""


@dataclass(frozen=True)
class FitSetup:
    """What every fit of a model needs: samples, the backbone's initial weights if it learns, and settings.

    Attributes
    ----------
    work : Path, optional
        Folder in which fits save their state.
    watch : callable
        Called with the name of a fit and each of its epochs, except for fits in other processes.
    threads : int
        Intra-op threads of a fit. The weights of a fit depend on them in their last bits.
    """

    samples: Samples
    backbone: Backbone | None
    settings: TrainSettings
    work: Path | None = None
    watch: Watch = silent
    threads: int = 1

    @classmethod
    def of(
        cls, samples: Samples, settings: TrainSettings, work: Path | None = None, watch: Watch = silent
    ) -> FitSetup:
        """A setup with the initial weights of a backbone that learns, and the number of threads of `threads_of`."""
        learns = settings.fit.tune != "frozen"
        backbone = initial_backbone(settings.network, settings.fit.seed) if learns else None
        return cls(samples, backbone, settings, work, watch, threads_of(settings))

    def fit(self, name: str, samples: Samples, seed: int) -> Fitted:
        """Fit to some of the samples."""
        resume = self._resume_point(samples, seed)
        with intra_op_threads(self.threads):
            return fit(
                samples, self.backbone, self.settings, seed, resume, lambda epoch: self.watch(name, epoch)
            )

    def predict(self, fitted: Fitted, samples: Samples) -> Predicted:
        """Predictions of a fit for some of the samples."""
        with intra_op_threads(self.threads):
            return predict(fitted, samples, self.settings)

    def without(self, case: str, seed: int) -> tuple[Fitted, Samples]:
        """A fit to all other cases, and the samples of this case."""
        tiles = self.samples.tiles
        train = self.samples.only([tile for tile in tiles if tile.case != case])
        test = self.samples.only([tile for tile in tiles if tile.case == case])
        return self.fit(f"{case}-{seed}", train, seed), test

    def light(self) -> FitSetup:
        """A copy for another process: without `watch`, and without pixels where fits do not need them."""
        samples = self.samples
        if self.settings.fit.tune == "frozen":
            samples = replace(samples, pixels=samples.pixels[:, :0, :0])
        return replace(self, samples=samples, watch=silent)

    def _resume_point(self, samples: Samples, seed: int) -> ResumePoint | None:
        """The state file of a fit, whose name depends on tiles, labels, settings and seed."""
        if self.work is None:
            return None
        tiles = [(tile.sha256, tile.case, tile.slide, tile.mpp, tile.truth) for tile in samples.tiles]
        facts = [self.settings.model_dump(mode="json"), tiles, seed]
        return ResumePoint(self.work / f"fit-{digest(facts)}.pt", self.settings.fit.save_every)


def hold_out(setup: FitSetup, seeds: Sequence[int], pool: Executor | None = None) -> HeldOut:
    """Leave each case out in turn, with each seed; fits run side by side where a pool of processes is given.

    Raises
    ------
    DatasetError
        There are fewer than two cases, or two cases share a picture.
    """
    samples = setup.samples
    prob = np.full((len(seeds), len(samples), len(CLASSES)), np.nan)
    gate = np.full((len(seeds), len(samples), 2), np.nan)
    history = {}
    for (at, name, rows), (found, epochs) in each_fold(_leave_out, setup, seeds, pool):
        prob[at, rows], gate[at, rows], history[name] = found.prob, found.gate, epochs
    return HeldOut(prob, gate, history)


def each_fold(
    work: Callable[[FitSetup, str, int], T], setup: FitSetup, seeds: Sequence[int], pool: Executor | None
) -> Iterator[tuple[tuple[int, str, NDArray[np.bool_]], T]]:
    """Yield (index of the seed, name of the fit, crops of the case) and the result of `work` for each seed and case."""
    folds = leave_case_out(setup.samples.tiles)
    tasks = [(at, seed, fold) for at, seed in enumerate(seeds) for fold in folds]
    cases, task_seeds = [fold.test[0].case for _, _, fold in tasks], [seed for _, seed, _ in tasks]
    setups = [setup if pool is None else setup.light()] * len(tasks)
    done = (map if pool is None else pool.map)(work, setups, cases, task_seeds)
    paced_done = paced(done, len(tasks), "fits with a case left out")
    for (at, seed, fold), result in zip(tasks, paced_done, strict=True):
        yield (at, f"{fold.test[0].case}-{seed}", setup.samples.rows(fold.test)), result


def _leave_out(setup: FitSetup, case: str, seed: int) -> tuple[Predicted, tuple[Epoch, ...]]:
    """Predictions for the crops of a case by a model fitted to the other cases, and the epochs of its fit."""
    fitted, test = setup.without(case, seed)
    return setup.predict(fitted, test), fitted.history


def certain_labels(tiles: Sequence[LabelledTile]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which tiles (n,) have one class, and the classes of those."""
    certain = np.array([tile.label is not None for tile in tiles], bool)
    return certain, np.array([tile.label for tile in tiles if tile.label is not None], np.int64)
