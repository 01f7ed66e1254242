"""The plots of an evaluation, from predictions of the main variant for left-out cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.files import remove
from wsi_necrosis.metrics.curves import reliability, roc_curve
from wsi_necrosis.metrics.figures import confusion, tile_figures
from wsi_necrosis.settings.train import CalibrationSettings
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.held_out import HeldOutSummary
from wsi_necrosis.training.leave_case_out import certain_labels
from wsi_necrosis.training.temperature import calibrate_nested

from .comparison import Judged
from .plots import confusion_plot, gate_plot, learning_plot, reliability_plot, roc_plot
from .simulation_plot import found_plot


def draw(
    folder: Path, main: Judged, found: HeldOutSummary, calibration: CalibrationSettings, bins: int
) -> None:
    """Write confusion.png, roc.png, reliability.png and learning.png.

    And found.png where slides could be simulated, and gate.png where branches have weights.
    """
    certain, labels = certain_labels(main.samples.tiles)
    prob = main.by_tile
    mean = prob.mean(axis=0)
    seeds, n = len(prob), len(labels)
    caption = f"{n} tiles, each by a model that has not seen its case; {seeds} training seeds."
    table = np.mean([confusion(labels, one.argmax(axis=1)) for one in prob], axis=0)
    confusion_plot(folder / "confusion.png", table, "Tiles of left-out cases", f"Mean over seeds. {caption}")
    rest = {name: labels == at for at, name in enumerate(CLASSES)}
    both = {name: some for name, some in rest.items() if some.any() and not some.all()}
    curves = {name: roc_curve(some, mean[:, CLASSES.index(name)]) for name, some in both.items()}
    figures = tile_figures(labels, mean, bins)
    aucs = {name: figures[f"auc_{name}"] for name in CLASSES}
    roc_plot(folder / "roc.png", curves, aucs, f"Probabilities averaged over the seeds. {caption}")
    _reliability(folder / "reliability.png", main, found, calibration, bins)
    history = {name: _columns(epochs) for name, epochs in main.held.history.items()}
    learning_plot(
        folder / "learning.png", history, f"{len(history)} fits: each of the cases left out, {seeds} seeds."
    )
    for name in ("found.png", "gate.png"):  # an earlier model may have had one
        remove(folder / name)
    if found.quantity is not None:
        found_plot(folder / "found.png", found.quantity, found.metrics["simulation"])
    if main.held.weighs:
        gate = main.samples.by_tile(main.held.gate.mean(axis=0))[certain]
        gate_plot(folder / "gate.png", gate, labels, f"Mean over seeds and crops. {caption}")


def _reliability(
    path: Path, main: Judged, found: HeldOutSummary, calibration: CalibrationSettings, bins: int
) -> None:
    """Reliability before and after calibration, over all ensembles of as many members as the model has."""
    certain, labels = certain_labels(main.samples.tiles)
    before = main.held.ensembles(found.metrics["members"])
    after = calibrate_nested(before, main.samples, calibration)
    pooled = [
        np.concatenate([main.samples.by_tile(one)[certain] for one in prob]) for prob in (before, after)
    ]
    of_all = np.tile(labels, len(before))
    caption = (
        f"{len(labels)} tiles, each by {len(before)} ensembles of {found.metrics['members']}; the temperature of a "
        "case is fitted on the other cases."
    )
    uncalibrated, calibrated = (reliability(of_all, prob, bins) for prob in pooled)
    reliability_plot(path, uncalibrated, calibrated, caption)


def _columns(epochs: tuple[Epoch, ...]) -> dict[str, list[float]]:
    """Columns for `learning_plot`; the weight of a head is exp(-s)."""
    return {
        "epoch": [float(each.epoch) for each in epochs],
        **{name: [getattr(each, name) for each in epochs] for name in ("loss", "coarse", "fine")},
        "s_coarse": [-float(np.log(each.weight_coarse)) for each in epochs],
        "s_fine": [-float(np.log(each.weight_fine)) for each in epochs],
    }
