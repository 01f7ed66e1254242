"""Fit the tile model: one training loop, whichever parts of the network learn.

With a frozen backbone its features and the radiomics of every crop are computed once, and only branches,
gate and heads are fitted. Otherwise the crops of each batch are augmented, and their radiomics and backbone
features computed anew. Every random generator is seeded by the seed, the epoch and the step, so a fit that
was interrupted and resumed gives the weights of one that was not.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from wsi_necrosis.dataset.tiles import inner_fold
from wsi_necrosis.model.network import Backbone, Classifier, mean_prob
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.model.torch_runner import precision
from wsi_necrosis.settings.train import FitSettings, TrainSettings
from wsi_necrosis.training.batches import Cached, Live, Source, batch_rows
from wsi_necrosis.training.fit_state import FitState, Learners, optimiser_of
from wsi_necrosis.training.losses import Parts, squared_weights
from wsi_necrosis.training.samples import Samples

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
    """A fitted classifier with the scaling of its radiomics, its backbone if it learned, and its epochs."""

    classifier: Classifier
    standardise: Standardiser
    backbone: Backbone | None
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class Predicted:
    """Output of a fitted classifier for m crops: `prob` (m, 3) and `gate` (m, 2)."""

    prob: NDArray[np.float64]
    gate: NDArray[np.float64]


class ResumePoint(NamedTuple):
    """The file of a fit's state, and the number of steps after which it is saved again."""

    path: Path
    every: int


Watch = Callable[[Epoch], None]


def fit(
    samples: Samples,
    backbone: Backbone | None,
    settings: TrainSettings,
    seed: int,
    resume: ResumePoint | None = None,
    watch: Watch = lambda epoch: None,
) -> Fitted:
    """Fit a classifier to samples; the same seed and number of threads give the same bits on one type of processor.

    Parameters
    ----------
    samples : Samples
        Of the training cases alone.
    backbone : Backbone or None
        Needed unless the backbone is frozen; it is copied, not changed.
    settings : TrainSettings
        Which parts learn, for how many epochs, and with which loss.
    seed : int
        Of initial weights, order, views and dropout.
    resume : ResumePoint, optional
        An interrupted fit with the same arguments resumes from the state saved there.
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
        parts = Learners.of(train, backbone, settings)
        source = _source(train, parts, standardise, settings)
        check = None if inner is None else _source(inner, parts, standardise, settings)
        state = FitState(parts, optimiser_of(parts, settings.fit))
        if resume is not None:
            state.load(resume.path)
        _loop(state, source, check, settings.fit, seed, _Hooks(resume, watch))
    return Fitted(
        parts.classifier.eval().cpu(),
        standardise,
        None if parts.backbone is None else parts.backbone.eval().cpu(),
        tuple(_epoch(row) for row in state.history),
    )


def predict(fitted: Fitted, samples: Samples, settings: TrainSettings) -> Predicted:
    """Predictions for every crop without augmentation, as for one cell of a slide."""
    z = torch.from_numpy(fitted.standardise.apply(samples.features[:, 0]).astype(np.float32))
    with torch.inference_mode():
        pooled = torch.from_numpy(np.ascontiguousarray(samples.pooled[:, 0]))
        if fitted.backbone is not None:
            batches = torch.split(torch.from_numpy(samples.pixels), settings.crops.batch)
            pooled = torch.cat([fitted.backbone(batch) for batch in batches])
        answers = fitted.classifier(pooled, z)
    return Predicted(
        mean_prob(answers).numpy().astype(np.float64), answers[0].gate.numpy().astype(np.float64)
    )


def _split(samples: Samples, settings: FitSettings) -> tuple[Samples, Samples | None]:
    """Samples to fit, and those of an inner case for early stopping, if it is asked for and a case can be spared."""
    if not settings.patience:
        return samples, None
    fold = inner_fold(samples.tiles)
    if fold is None:
        log.info("no early stopping: no case can be spared so that every class keeps a training case")
        return samples, None
    return samples.only(fold.train), samples.only(fold.test)


def _source(samples: Samples, parts: Learners, standardise: Standardiser, settings: TrainSettings) -> Source:
    if parts.backbone is None:
        return Cached(samples, standardise, parts.device)
    return Live(samples, standardise, parts.backbone, settings.crops, parts.device)


class _Hooks(NamedTuple):
    resume: ResumePoint | None
    watch: Watch


def _loop(
    state: FitState, source: Source, check: Source | None, settings: FitSettings, seed: int, hooks: _Hooks
) -> None:
    parts = state.parts
    parts.classifier.train()
    for epoch in range(len(state.history), settings.epochs):
        if state.done:
            break
        batches = list(batch_rows(len(source.truth), settings.batch, np.random.default_rng([seed, epoch])))
        for at in range(state.step - epoch * len(batches), len(batches)):
            # Not [seed, epoch, 0]: numpy ignores trailing zeros, and [seed, epoch] gives the order of the rows.
            rows, rng = batches[at], np.random.default_rng([seed, epoch, at + 1])
            torch.manual_seed(int(rng.integers(2**63)))  # dropout draws from torch's own generator
            with precision(parts.device):
                batch = source.varied(rows, rng)
                parts_of_loss = parts.loss(parts.classifier(batch.pooled, batch.z), batch.truth)
                if settings.l2:
                    penalty = settings.l2 * squared_weights(parts.classifier)
                    parts_of_loss = parts_of_loss._replace(total=parts_of_loss.total + penalty)
            state.optimiser.zero_grad()
            parts_of_loss.total.backward()
            state.optimiser.step()
            _count(state, parts_of_loss, len(rows))
            if hooks.resume is not None and state.step % hooks.resume.every == 0:
                state.save(hooks.resume.path)
        _end_epoch(state, check, settings, hooks.watch)
    if state.best:
        state.take(state.best)
    state.done = True
    if hooks.resume is not None:
        state.save(hooks.resume.path)


def _count(state: FitState, parts: Parts, rows: int) -> None:
    state.step += 1
    values = (float(parts.total.detach()), float(parts.coarse), float(parts.fine), 1.0)
    state.sums = [total + rows * value for total, value in zip(state.sums, values, strict=True)]


def _end_epoch(state: FitState, check: Source | None, settings: FitSettings, watch: Watch) -> None:
    """Record the epoch; keep its weights if it was the best on the inner case, stop after too many worse ones."""
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


def _loss_on(source: Source, state: FitState, batch: int) -> float:
    """Loss without augmentation and dropout, with weight 1 for each head, as learned weights differ between epochs."""
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
