"""Fit the tile model: one straight loop, whatever of the network learns.

With a frozen backbone its features and the radiomics of every crop are computed once, and only branches,
gate and heads are fitted. Otherwise each batch is cut, varied, measured and seen by the backbone anew.
Nothing depends on a generator's state that was not derived from the seed, the epoch and the step, so a fit
that was interrupted and resumed gives the weights of one that was not.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models import group_parameters
from torch import Tensor, nn

from wsi_necrosis.checkpoint import Standardiser
from wsi_necrosis.dataset import inner_fold
from wsi_necrosis.errors import StoreError
from wsi_necrosis.losses import HeadLoss, Parts
from wsi_necrosis.model import Backbone, Classifier, Heads, Shape, choose_device, precision
from wsi_necrosis.replacing import replacing
from wsi_necrosis.samples import TURNS, Samples, measure, vary
from wsi_necrosis.settings import FitSettings, TrainSettings

log = logging.getLogger(__name__)


class Epoch(NamedTuple):
    """Means over one pass: losses, weights of the heads at its end, and the loss on the inner case (NaN without)."""

    epoch: int
    loss: float
    coarse: float
    fine: float
    weight_coarse: float
    weight_fine: float
    inner: float


@dataclass(frozen=True)
class Fitted:
    """A fitted classifier with the scaling of its radiomics, its backbone where one learned, and how it went."""

    classifier: Classifier
    standardise: Standardiser
    backbone: Backbone | None
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class Predicted:
    """What a fitted classifier says of m crops: `prob` (m, 3) and `gate` (m, 2)."""

    prob: NDArray[np.float64]
    gate: NDArray[np.float64]


class Trail(NamedTuple):
    """Where an interrupted fit leaves its state: a file, and how many steps lie between two states."""

    path: Path
    every: int


Watch = Callable[[Epoch], None]


def fit(
    samples: Samples,
    backbone: Backbone | None,
    settings: TrainSettings,
    seed: int,
    trail: Trail | None = None,
    watch: Watch = lambda epoch: None,
) -> Fitted:
    """Fit a classifier to samples; the same seed and number of threads give the same bits on one type of processor.

    Parameters
    ----------
    samples : Samples
        Of the training cases alone.
    backbone : Backbone or None
        Needed unless it is frozen; it is copied, not changed.
    settings : TrainSettings
        What learns, how long, and under which loss.
    seed : int
        Of first weights, order, views and dropout.
    trail : Trail, optional
        An interrupted fit with the same arguments goes on from the state that it left there.
    watch : callable, optional
        Called after each epoch.

    Returns
    -------
    Fitted
        With early stopping, the weights of the epoch that was best on the inner case.
    """
    train, inner = _split(samples, settings.fit)
    standardise = Standardiser.fit(
        train.features[:, 0], train.recipe.names, settings.network.clip, settings.network.guard
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = _Parts.of(train, backbone, settings)
        source = _source(train, parts, standardise, settings)
        check = None if inner is None else _source(inner, parts, standardise, settings)
        state = _State(parts, _optimiser(parts, settings.fit))
        if trail is not None:
            state.load(trail.path)
        _loop(state, source, check, settings.fit, seed, _Hooks(trail, watch))
    return Fitted(
        parts.classifier.eval().cpu(),
        standardise,
        None if parts.backbone is None else parts.backbone.eval().cpu(),
        tuple(_epoch(row) for row in state.history),
    )


def predict(fitted: Fitted, samples: Samples, settings: TrainSettings) -> Predicted:
    """What is said of every crop as it is, unturned: what one cell of a slide gets."""
    z = torch.from_numpy(fitted.standardise.apply(samples.features[:, 0]).astype(np.float32))
    with torch.inference_mode():
        pooled = torch.from_numpy(np.ascontiguousarray(samples.pooled[:, 0]))
        if fitted.backbone is not None:
            batches = torch.split(torch.from_numpy(samples.pixels), settings.crops.batch)
            pooled = torch.cat([fitted.backbone(batch) for batch in batches])
        logits = fitted.classifier(pooled, z)
    return Predicted(logits.prob().numpy().astype(np.float64), logits.gate.numpy().astype(np.float64))


def heads_of(settings: FitSettings) -> Heads:
    """The heads that a loss teaches."""
    return "flat" if settings.loss == "flat" else "hierarchical"


def shape_of(settings: TrainSettings, pooled: int, radiomic: int) -> Shape:
    """Sizes of the classifier that the settings ask for."""
    net = settings.network
    return Shape(
        pooled, radiomic, net.fusion, heads_of(settings.fit), net.hidden, net.gate_hidden, net.dropout
    )


@dataclass(frozen=True)
class _Parts:
    """What learns, on its device."""

    classifier: Classifier
    loss: HeadLoss
    backbone: Backbone | None
    device: str

    @classmethod
    def of(cls, samples: Samples, backbone: Backbone | None, settings: TrainSettings) -> _Parts:
        device = choose_device(settings.fit.device)
        live = backbone if settings.fit.tune != "frozen" and settings.network.fusion != "radiomics" else None
        pooled = samples.pooled.shape[-1] if live is None else live.width
        classifier = Classifier(shape_of(settings, pooled, samples.features.shape[-1]))
        loss = HeadLoss(settings.fit.loss, samples.truth)
        copied = None if live is None else _unfrozen(copy.deepcopy(live), settings.fit).to(device)
        return cls(classifier.to(device), loss.to(device), copied, device)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """By name, those whose state is kept."""
        named = {"classifier": self.classifier, "loss": self.loss, "backbone": self.backbone}
        return {name: module for name, module in named.items() if module is not None}


def _unfrozen(backbone: Backbone, settings: FitSettings) -> Backbone:
    """The backbone with just those parameters open that learn; statistics of its BatchNorms stay as they are."""
    body = backbone.eval().body
    groups = group_parameters(body, body.group_matcher(coarse=False))
    first = {"head": len(groups), "partial": max(0, len(groups) - settings.tune_groups), "full": 0}[
        settings.tune
    ]
    learns = {name for at in list(groups)[first:] for name in groups[at]}
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name in learns)
    return backbone


def _optimiser(parts: _Parts, settings: FitSettings) -> torch.optim.Optimizer:
    open_ = [] if parts.backbone is None else [p for p in parts.backbone.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(parts.classifier.parameters()), "weight_decay": settings.weight_decay},
        {"params": list(parts.loss.parameters()), "weight_decay": 0.0, "lr": settings.loss_learning_rate},
        {"params": open_, "weight_decay": settings.weight_decay, "lr": settings.backbone_learning_rate},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=settings.learning_rate, fused=True
    )


def _split(samples: Samples, settings: FitSettings) -> tuple[Samples, Samples | None]:
    """Samples to fit, and those of an inner case to stop by, if stopping is asked for and a case can be spared."""
    if not settings.patience:
        return samples, None
    fold = inner_fold(samples.tiles)
    if fold is None:
        log.info("no early stopping: no case can be spared so that every class keeps a training case")
        return samples, None
    return samples.only(fold.train), samples.only(fold.test)


class _Batch(NamedTuple):
    pooled: Tensor
    z: Tensor
    truth: Tensor


class _Source(Protocol):
    """Gives varied batches to learn from, and plain ones to check by."""

    truth: Tensor

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> _Batch: ...

    def plain(self, rows: NDArray[np.int64]) -> _Batch: ...


class _Cached:
    """Features of a frozen backbone and radiomics, computed beforehand in every view."""

    def __init__(self, samples: Samples, standardise: Standardiser, device: str) -> None:
        m, views, width = samples.features.shape
        z = standardise.apply(samples.features.reshape(m * views, width)).reshape(m, views, width)
        self._pooled = torch.from_numpy(samples.pooled).to(device)
        self._z = torch.from_numpy(z.astype(np.float32)).to(device)
        self.truth = torch.from_numpy(samples.truth.astype(np.float32)).to(device)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> _Batch:
        view = rng.integers(self._z.shape[1], size=len(rows))
        return _Batch(self._pooled[rows, view], self._z[rows, view], self.truth[rows])

    def plain(self, rows: NDArray[np.int64]) -> _Batch:
        return _Batch(self._pooled[rows, 0], self._z[rows, 0], self.truth[rows])


class _Live:
    """Crops varied anew for each batch, with their radiomics, through a backbone that may learn."""

    def __init__(
        self, samples: Samples, standardise: Standardiser, parts: _Parts, settings: TrainSettings
    ) -> None:
        assert parts.backbone is not None  # noqa: S101  (for the type checker: there is one whenever it is not frozen)
        self._samples, self._standardise, self._parts, self._settings = samples, standardise, parts, settings
        self._backbone = parts.backbone
        self.truth = torch.from_numpy(samples.truth.astype(np.float32)).to(parts.device)

    def varied(self, rows: NDArray[np.int64], rng: np.random.Generator) -> _Batch:
        crops = self._settings.crops
        turns = rng.integers(TURNS if crops.views > 1 else 1, size=len(rows))
        pixels = [
            vary(self._samples.pixels[row], int(turn), rng, crops)
            for row, turn in zip(rows, turns, strict=True)
        ]
        tiles = np.stack(pixels)
        return self._batch(rows, tiles, measure(tiles, self._samples.recipe, crops.mpp_um))

    def plain(self, rows: NDArray[np.int64]) -> _Batch:
        return self._batch(rows, self._samples.pixels[rows], self._samples.features[rows, 0])

    def _batch(
        self, rows: NDArray[np.int64], tiles: NDArray[np.uint8], features: NDArray[np.float64]
    ) -> _Batch:
        z = torch.from_numpy(self._standardise.apply(features).astype(np.float32)).to(self._parts.device)
        pooled = self._backbone(torch.from_numpy(tiles).to(self._parts.device))
        return _Batch(pooled, z, self.truth[rows])


def _source(samples: Samples, parts: _Parts, standardise: Standardiser, settings: TrainSettings) -> _Source:
    if parts.backbone is None:
        return _Cached(samples, standardise, parts.device)
    return _Live(samples, standardise, parts, settings)


@dataclass
class _State:
    """All that a fit must find again to go on: weights, optimiser, and how far it had come."""

    parts: _Parts
    optimiser: torch.optim.Optimizer
    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * 4)  # loss, coarse, fine, crops of this epoch
    history: list[list[float]] = field(default_factory=list)
    best: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    done: bool = False

    FACTS = ("step", "sums", "history", "best", "done")

    def weights(self) -> dict[str, dict[str, Tensor]]:
        """A copy of all weights, which later steps do not change."""
        return {
            name: {key: tensor.detach().clone() for key, tensor in module.state_dict().items()}
            for name, module in self.parts.modules.items()
        }

    def take(self, weights: dict[str, dict[str, Tensor]]) -> None:
        """Set all weights."""
        for name, module in self.parts.modules.items():
            module.load_state_dict(weights[name])

    def save(self, path: Path) -> None:
        """Write the state, by rename."""
        facts = {name: getattr(self, name) for name in self.FACTS}
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            torch.save(
                {**facts, "weights": self.weights(), "optimiser": self.optimiser.state_dict()}, partial
            )

    def load(self, path: Path) -> None:
        """Go on from a state, if there is one.

        Raises
        ------
        StoreError
            The file cannot be read, is damaged, or is the state of another fit.
        """
        if not path.exists():
            return
        try:
            _require_whole(path)
            facts = torch.load(path, map_location=self.parts.device, weights_only=True)
            self.take(facts["weights"])
            self.optimiser.load_state_dict(facts["optimiser"])
            for name in self.FACTS:
                setattr(self, name, facts[name])
        except Exception as error:  # noqa: BLE001  (torch raises what its unpickler meets, and what does not fit)
            raise StoreError(
                f"{path} is no readable state of this fit ({error}); delete it to begin anew"
            ) from None
        log.info("going on at step %d of %s", self.step, path.name)


def _require_whole(path: Path) -> None:
    """Raise where a byte is not what was written; torch does not look at the checksums that it writes."""
    with ZipFile(path) as parts:
        if parts.testzip() is not None:
            raise BadZipFile("its checksums do not agree")


class _Hooks(NamedTuple):
    trail: Trail | None
    watch: Watch


def _loop(
    state: _State, source: _Source, check: _Source | None, settings: FitSettings, seed: int, hooks: _Hooks
) -> None:
    parts = state.parts
    autocast = precision(parts.device) if parts.device.startswith("cuda") else nullcontext()
    parts.classifier.train()
    for epoch in range(len(state.history), settings.epochs):
        if state.done:
            break
        batches = list(_batches(len(source.truth), settings.batch, np.random.default_rng([seed, epoch])))
        for at in range(state.step - epoch * len(batches), len(batches)):
            rows, rng = batches[at], np.random.default_rng([seed, epoch, at])
            torch.manual_seed(int(rng.integers(2**63)))  # dropout draws from torch's own generator
            with autocast:
                batch = source.varied(rows, rng)
                parts_of_loss = parts.loss(parts.classifier(batch.pooled, batch.z), batch.truth)
            state.optimiser.zero_grad()
            parts_of_loss.total.backward()
            state.optimiser.step()
            _count(state, parts_of_loss, len(rows))
            if hooks.trail is not None and state.step % hooks.trail.every == 0:
                state.save(hooks.trail.path)
        _end_epoch(state, check, settings, hooks.watch)
    if state.best:
        state.take(state.best)
    state.done = True
    if hooks.trail is not None:
        state.save(hooks.trail.path)


def _count(state: _State, parts: Parts, rows: int) -> None:
    state.step += 1
    values = (float(parts.total.detach()), float(parts.coarse), float(parts.fine), 1.0)
    state.sums = [total + rows * value for total, value in zip(state.sums, values, strict=True)]


def _end_epoch(state: _State, check: _Source | None, settings: FitSettings, watch: Watch) -> None:
    """Write down the epoch; keep its weights if it was the best on the inner case, stop after too many worse ones."""
    inner = float("nan") if check is None else _loss_on(check, state, settings.batch)
    means = [total / state.sums[-1] for total in state.sums[:-1]]
    record = [float(len(state.history) + 1), *means, *state.parts.loss.weights(), inner]
    earlier = [row[-1] for row in state.history]
    state.history.append(record)
    state.sums = [0.0] * 4
    watch(_epoch(record))
    if check is None:
        return
    if inner < min(earlier, default=float("inf")):
        state.best = state.weights()
    best_at = int(np.argmin([*earlier, inner]))
    state.done = len(earlier) - best_at >= settings.patience


def _epoch(row: list[float]) -> Epoch:
    return Epoch(int(row[0]), *row[1:])


def _loss_on(source: _Source, state: _State, batch: int) -> float:
    """Loss of crops as they are, with dropout off; the heads weigh 1 each, as their learned weights move."""
    classifier, loss = state.parts.classifier.eval(), state.parts.loss
    order = np.arange(len(source.truth))
    total = 0.0
    with torch.inference_mode():
        for rows in np.split(order, range(batch, len(order), batch)):
            plain = source.plain(rows)
            parts = loss(classifier(plain.pooled, plain.z), plain.truth)
            total += float(parts.coarse + parts.fine) * len(rows)
    classifier.train()
    return total / len(order)


def _batches(n: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """All rows in random order; a last batch of one is left out, as BatchNorm needs two."""
    order = rng.permutation(n)
    for start in range(0, n, size):
        rows = order[start : start + size]
        if len(rows) > 1:
            yield rows
