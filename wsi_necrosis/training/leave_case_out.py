"""Predictions for left-out cases, and what is computed from them: temperature, OOD limit, importance of inputs.

One case is left out at a time: tiles of a case are near-duplicates, so any other split gives figures that are
too good. Only a model's temperature and its OOD limit are chosen by these predictions.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.tiles import LabelledTile, leave_case_out
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.network import Backbone
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.provenance import digest
from wsi_necrosis.radiomics.recipe import Recipe
from wsi_necrosis.settings.train import CalibrationSettings, OodSettings, TrainSettings
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.fit import Epoch, Fitted, Predicted, ResumePoint, fit, predict
from wsi_necrosis.training.samples import Samples, intra_op_threads

T = TypeVar("T")
Watch = Callable[[str, Epoch], None]
log = logging.getLogger(__name__)


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
    for (at, name, rows), (found, epochs) in _each_fold(_leave_out, setup, seeds, pool):
        prob[at, rows], gate[at, rows], history[name] = found.prob, found.gate, epochs
    return HeldOut(prob, gate, history)


def _each_fold(
    work: Callable[[FitSetup, str, int], T], setup: FitSetup, seeds: Sequence[int], pool: Executor | None
) -> Iterator[tuple[tuple[int, str, NDArray[np.bool_]], T]]:
    """Yield (index of the seed, name of the fit, crops of the case) and the result of `work` for each seed and case."""
    folds = leave_case_out(setup.samples.tiles)
    tasks = [(at, seed, fold) for at, seed in enumerate(seeds) for fold in folds]
    cases, task_seeds = [fold.test[0].case for _, _, fold in tasks], [seed for _, seed, _ in tasks]
    setups = [setup if pool is None else setup.light()] * len(tasks)
    done = (map if pool is None else pool.map)(work, setups, cases, task_seeds)
    for (at, seed, fold), result in zip(tasks, done, strict=True):
        yield (at, f"{fold.test[0].case}-{seed}", setup.samples.rows(fold.test)), result


def _leave_out(setup: FitSetup, case: str, seed: int) -> tuple[Predicted, tuple[Epoch, ...]]:
    """Predictions for the crops of a case by a model fitted to the other cases, and the epochs of its fit."""
    fitted, test = setup.without(case, seed)
    return setup.predict(fitted, test), fitted.history


def hold_out_probe(samples: Samples) -> NDArray[np.float64]:
    """Probabilities (m, 3) by a linear probe: logistic regression on the frozen backbone's features.

    Features of all views, scaled to unit variance; classes weighted by inverse frequency; L2 with C = 1. Mixed
    tiles are left out of its training.
    """
    prob = np.zeros((len(samples), len(CLASSES)))
    for fold in leave_case_out(samples.tiles):
        train, rows = samples.only(fold.train), samples.rows(fold.test)
        certain = train.truth.max(axis=1) == 1
        views = train.pooled.shape[1]
        labels = np.repeat(train.truth[certain].argmax(axis=1), views)
        probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
        probe.fit(train.pooled[certain].reshape(len(labels), -1), labels)
        prob[np.ix_(rows, probe.classes_)] = probe.predict_proba(samples.pooled[rows, 0])
    return prob


def fit_temperature(
    prob: NDArray[np.float64], truth: NDArray[np.float64], settings: CalibrationSettings
) -> Temperature:
    """The temperature for held-out probabilities (k, m, 3) of crops whose truth is (m, 3)."""
    pooled = prob.reshape(-1, prob.shape[-1])
    return Temperature.fit(pooled, np.tile(truth, (len(prob), 1)), settings.max_temperature)


def calibrate_nested(
    prob: NDArray[np.float64], samples: Samples, settings: CalibrationSettings
) -> NDArray[np.float64]:
    """Probabilities (k, m, 3) of each case, calibrated by a temperature fitted on the other cases.

    This estimates the calibration for a new case; on the predictions that a temperature was fitted to, figures
    would be too good.
    """
    calibrated = np.empty_like(prob)
    for fold in leave_case_out(samples.tiles):
        rows = samples.rows(fold.test)
        temperature = fit_temperature(prob[:, ~rows], samples.truth[~rows], settings)
        calibrated[:, rows] = [temperature.apply(some) for some in prob[:, rows]]
    return calibrated


@dataclass(frozen=True)
class HeldOutOod:
    """How far each crop is from the training crops of other cases.

    Attributes
    ----------
    points : float64 array (m, d)
        Descriptions of the crops, from `ood_features.describe`.
    tissue : bool array (m,)
        Crops with enough tissue to be compared with.
    distance : float64 array (m,)
        Of each crop from those of all other cases.
    """

    points: NDArray[np.float64]
    tissue: NDArray[np.bool_]
    distance: NDArray[np.float64]

    def fit(self, settings: OodSettings) -> OodDetector:
        """The model's detector: fitted to the tissue crops of all cases, with the limit from left-out cases."""
        return OodDetector.fit(
            self.points[self.tissue], self.limit(self.tissue, settings), settings.shrinkage
        )

    def limit(self, rows: NDArray[np.bool_], settings: OodSettings) -> float:
        """The distance within which a share `settings.keep` of these crops lies."""
        return float(np.quantile(self.distance[rows], settings.keep))


def hold_out_ood(samples: Samples, settings: OodSettings) -> HeldOutOod:
    """Distance of each case's crops from the crops of the other cases."""
    points = describe(samples.pixels)
    tissue = foreground(samples.pixels).mean(axis=(1, 2)) >= settings.least_tissue
    distance = np.full(len(samples), np.nan)
    for fold in leave_case_out(samples.tiles):
        rows = samples.rows(fold.test)
        others = OodDetector.fit(points[~rows & tissue], 1.0, settings.shrinkage)
        distance[rows] = others.distance(points[rows])
    return HeldOutOod(points, tissue, distance)


def abstained_nested(
    found: HeldOutOod, samples: Samples, settings: OodSettings
) -> dict[str, dict[str, float]]:
    """Share of each case's crops with tissue beyond the limit of the model, and beyond that of the other cases alone.

    A case without such crops is left out.
    """
    shares = {}
    for fold in leave_case_out(samples.tiles):
        rows = samples.rows(fold.test)
        of_case = found.distance[rows & found.tissue]
        if not len(of_case):
            continue
        limits = {
            "all": found.limit(found.tissue, settings),
            "others": found.limit(~rows & found.tissue, settings),
        }
        shares[fold.test[0].case] = {name: float((of_case > limit).mean()) for name, limit in limits.items()}
    return shares


def importance(
    setup: FitSetup, seeds: Sequence[int], rng: np.random.Generator, pool: Executor | None = None
) -> dict[str, float]:
    """By how much the log loss of held-out tiles grows when a group of inputs is shuffled among a case's crops.

    Groups are the image, all radiomics, and the radiomics of each channel, mask and family. A group whose
    information is also in others appears less important. Breiman L (2001), Random forests, Machine Learning 45:5-32.
    """
    samples = setup.samples
    names = ("none", *_groups(samples.recipe))
    prob = np.zeros((len(seeds), len(names), len(samples), len(CLASSES)))
    shuffle = partial(_leave_out_shuffled, entropy=int(rng.integers(2**32)))
    for (at, _, rows), found in _each_fold(shuffle, setup, seeds, pool):
        prob[at][:, rows] = found
    losses = np.array([[_tile_loss(samples, one) for one in of_seed] for of_seed in prob])
    grown = (losses[:, 1:] - losses[:, :1]).mean(axis=0)
    return dict(zip(names[1:], grown.tolist(), strict=True))


def _leave_out_shuffled(setup: FitSetup, case: str, seed: int, entropy: int) -> NDArray[np.float64]:
    """Probabilities (1 + groups, k, 3) for a case's k crops, as they are and with each group of inputs shuffled."""
    fitted, test = setup.without(case, seed)
    rng = np.random.default_rng(
        [entropy, seed, sorted({tile.case for tile in setup.samples.tiles}).index(case)]
    )
    inputs = [test, *(_shuffled(test, columns, rng) for columns in _groups(test.recipe).values())]
    return np.stack([setup.predict(fitted, each).prob for each in inputs])


def _groups(recipe: Recipe) -> dict[str, NDArray[np.int64]]:
    """Columns of each group; the image has none."""
    found: dict[str, list[int]] = {}
    for column, feature in enumerate(recipe.features):
        name = (
            "nuclei" if feature.family == "nuclei" else f"{feature.channel} {feature.family} ({feature.mask})"
        )
        found.setdefault(name, []).append(column)
    together = {"radiomics": list(range(len(recipe.features)))} if recipe.features else {}
    every = {"image": [], **together, **found}
    return {name: np.array(columns, np.int64) for name, columns in every.items()}


def _shuffled(samples: Samples, columns: NDArray[np.int64], rng: np.random.Generator) -> Samples:
    order = rng.permutation(len(samples))
    if not len(columns):  # the image: its features, or the pixels that a tuned backbone sees
        return replace(samples, pixels=samples.pixels[order], pooled=samples.pooled[order])
    features = samples.features.copy()
    features[..., columns] = features[order][..., columns]
    return replace(samples, features=features)


def _tile_loss(samples: Samples, prob: NDArray[np.float64]) -> float:
    certain, labels = certain_labels(samples.tiles)
    loss = tile_figures(labels, samples.by_tile(prob)[certain])["log_loss"]
    return float("nan") if loss is None else loss


def certain_labels(tiles: Sequence[LabelledTile]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which tiles (n,) have one class, and the classes of those."""
    certain = np.array([tile.label is not None for tile in tiles], bool)
    return certain, np.array([tile.label for tile in tiles if tile.label is not None], np.int64)
