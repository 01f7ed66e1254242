"""The plots of an evaluation: PNG, 1800 px wide, legible at 900. Equal input gives equal bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, TUMOUR_CLASSES, VIABLE
from wsi_necrosis.metrics.curves import Reliability

from ..canvas import BLUE, GREY, ORANGE, PALE, picture

SHARES = 25  # bars over gate weights from 0 to 1
DARKER = 0.62  # of the palette's green, which is too pale for a line on white
DASHES = ("--", "-.", "-")  # by class, for those who cannot tell red from green
SHADES = LinearSegmentedColormap.from_list("shares", ["#f1f4f8", BLUE])
LOSSES = (("loss", "total", "black"), ("coarse", "coarse head", BLUE), ("fine", "fine head", ORANGE))
WEIGHTS = (("s_coarse", "coarse head", BLUE), ("s_fine", "fine head", ORANGE))

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def confusion_plot(path: Path, table: ArrayLike, title: str, caption: str) -> None:
    """Draw true over predicted classes: tiles, and their share of the row.

    Parameters
    ----------
    path : Path
        The PNG to write; one that exists is replaced. This holds for all plots here.
    table : array (3, 3)
        Tiles, or their mean over seeds; rows are true classes.
    title : str
        Above the table.
    caption : str
        Below the plot: seeds, tiles and how they were evaluated. This holds for all plots here.

    Raises
    ------
    StoreError
        The file cannot be written. This holds for all plots here.
    """
    counts = np.asarray(table, dtype=np.float64)
    n_true = counts.sum(axis=1)
    share = counts / np.maximum(n_true, 1e-12)[:, None]
    with picture(path, 6.0, caption) as figure:
        axes = figure.subplots()
        axes.imshow(share, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            text = f"{_count(count)}\n{100 * share[row, column]:.0f} %" if n_true[row] else "no tiles"
            ink = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, text, ha="center", va="center", color=ink, size=15, linespacing=1.4)
        titles = [each.title for each in TUMOUR_CLASSES]
        rows = [f"{name}\n{_tiles(n)}" for name, n in zip(titles, n_true, strict=True)]
        axes.set_xticks(range(len(titles)), titles)
        axes.set_yticks(range(len(titles)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set(title=title, xlabel="predicted class", ylabel="true class")
        _rule(axes, len(titles))


def roc_plot(path: Path, curves: Mapping[str, Curve], aucs: Mapping[str, float | None], caption: str) -> None:
    """Draw sensitivity over false positive rate of each class against the rest.

    Parameters
    ----------
    path, caption
        As for `confusion_plot`.
    curves : mapping of (float array, float array)
        By name of class: false positive rate and sensitivity, as `metrics.curves.roc_curve` gives them.
        The legend names a class without a curve.
    aucs : mapping of float or None
        By class: area under the curve.
    """
    with picture(path, 6.0, caption) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.2, label="chance, AUC .50")
        axes.axvline(0.1, color=PALE, linewidth=1.2, linestyle=":", label="90 % specificity")
        for at in (VIABLE, NON_VIABLE, NON_TUMOUR):
            tumour_class = TUMOUR_CLASSES[at]
            drawn = curves.get(tumour_class.name, (np.empty(0), np.empty(0)))
            label = f"{tumour_class.title}, {_area(aucs.get(tumour_class.name))}"
            axes.plot(*drawn, color=_line_colour(at), linestyle=DASHES[at], label=label, clip_on=False)
        axes.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1, xlabel="1 - specificity", ylabel="sensitivity")
        axes.set_title("Each class against the rest")
        handles, labels = axes.get_legend_handles_labels()
        order = [2, 3, 4, 0, 1]
        axes.legend([handles[k] for k in order], [labels[k] for k in order], **_beside())


def reliability_plot(path: Path, before: Reliability, after: Reliability, caption: str) -> None:
    """Draw accuracy over confidence before and after calibration; size of a dot is its share of predictions.

    Parameters
    ----------
    path, caption
        As for `confusion_plot`.
    before, after : Reliability
        Of the same tiles.
    """
    with picture(path, 6.0, caption) as figure:
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=1.2, label="perfect calibration")
        for bins, name, colour, style in ((before, "before", GREY, "--"), (after, "after", BLUE, "-")):
            label = f"{name}, ECE {_decimals(bins.ece)}"
            line = {"color": colour, "linestyle": style, "linewidth": 1.6, "label": label}
            axes.plot(bins.confidence, bins.accuracy, **line, zorder=3)
            size = 400 * bins.count / bins.count.sum() + 12
            axes.scatter(bins.confidence, bins.accuracy, size, colour, zorder=4, clip_on=False)
        axes.set(xlim=(0.3, 1), ylim=(0, 1), box_aspect=1)  # the largest of three is at least a third
        axes.set(xlabel="mean confidence", ylabel="share of tiles that are right")
        axes.set_title("Confidence against accuracy")
        axes.legend(**_beside(), title=_bins_note(before, after), alignment="left", title_fontsize=11)


def learning_plot(path: Path, history: Mapping[str, Mapping[str, ArrayLike]], caption: str) -> None:
    """Draw losses and weights of the heads by epoch: the mean over fits, in a band from minimum to maximum.

    Parameters
    ----------
    path, caption
        As for `confusion_plot`.
    history : mapping of mapping of arrays (epochs,)
        By fit, for instance a case left out: `epoch`, `loss` of the training, cross-entropy of the
        `coarse` and the `fine` head, and `s_coarse`, `s_fine`, whose heads weigh exp(-s). Fits may stop at
        different epochs, and later means are over the rest; structured arrays are accepted as well.
    """
    with picture(path, 4.6, caption) as figure:
        losses, weights = figure.subplots(1, 2)
        for key, label, colour in LOSSES:
            _band(losses, *_over_fits(history, key), colour, label)
        for key, label, colour in WEIGHTS:
            epoch, values = _over_fits(history, key)
            _band(weights, epoch, np.exp(-values), colour, label)
        losses.set(xlabel="epoch", ylabel="training loss", title="Losses")
        weights.set(xlabel="epoch", ylabel="exp(-s)", title="Weights of the heads")
        weights.set_ylim(bottom=0)
        for axes in (losses, weights):
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
            axes.margins(x=0.01)
            axes.legend()


def gate_plot(path: Path, gate: NDArray[np.floating], labels: NDArray[np.int64], caption: str) -> None:
    """Draw the weight of the radiomics branch by true class; a line marks the median.

    Parameters
    ----------
    path, caption
        As for `confusion_plot`.
    gate : float array (n, 2)
        Weights of image and radiomics branch, sum 1.
    labels : int array (n,)
        True classes.
    """
    edges = np.linspace(0, 1, SHARES + 1)
    with picture(path, 5.6, caption) as figure:
        panels = figure.subplots(len(TUMOUR_CLASSES), 1, sharex=True, sharey=True)
        for axes, at in zip(panels, (VIABLE, NON_VIABLE, NON_TUMOUR), strict=True):
            weight = gate[labels == at, 1]
            median = f", median {_decimals(float(np.median(weight)))}" if weight.size else ""
            title = f"{TUMOUR_CLASSES[at].title}, {_tiles(weight.size)}{median}"
            axes.set_title(title, loc="left", color=_line_colour(at), pad=6)
            height = 100 * np.histogram(weight, edges)[0] / max(weight.size, 1)
            axes.stairs(height, edges, fill=True, color=_fill_colour(at), alpha=0.75)
            if weight.size:
                axes.axvline(np.median(weight), color="black", linewidth=1.6)
        panels[1].set_ylabel("tiles, %")
        panels[-1].set(xlim=(0, 1), xlabel="weight of the radiomics branch (the image has the rest)")


def _over_fits(
    history: Mapping[str, Mapping[str, ArrayLike]], key: str
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Epochs (epochs,) and values (fits, epochs) of all fits; NaN where a fit had stopped."""
    epochs = [np.asarray(fit["epoch"], dtype=np.int64) for fit in history.values()]
    every = np.unique(np.concatenate(epochs))
    values = np.full((len(epochs), every.size), np.nan)
    for row, epoch, fit in zip(values, epochs, history.values(), strict=True):
        row[np.searchsorted(every, epoch)] = fit[key]
    return every, values


def _band(axes: Any, epoch: NDArray[np.int64], values: NDArray[np.float64], colour: str, label: str) -> None:
    least, most = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    axes.fill_between(epoch, least, most, color=colour, alpha=0.18, linewidth=0)
    axes.plot(epoch, np.nanmean(values, axis=0), color=colour, label=label)


def _rule(axes: Any, n: int) -> None:
    """White lines between the cells of a table."""
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=3)
    axes.tick_params(which="minor", length=0)


def _beside() -> dict[str, Any]:
    """Position of a legend to the right of a square plot."""
    return {"loc": "center left", "bbox_to_anchor": (1.04, 0.5), "labelspacing": 0.9}


def _bins_note(before: Reliability, after: Reliability) -> str:
    counts = np.concatenate([before.count, after.count])
    each = f"{counts.min()}" if np.ptp(counts) == 0 else f"{counts.min()} to {counts.max()}"
    return f"{before.count.sum()} predictions, {each} to a bin\nECE: expected calibration error\n"


def _line_colour(at: int) -> tuple[float, ...]:
    fill = _fill_colour(at)
    return tuple(DARKER * part for part in fill) if at == NON_TUMOUR else fill


def _fill_colour(at: int) -> tuple[float, ...]:
    return tuple(part / 255 for part in TUMOUR_CLASSES[at].colour)


def _area(value: float | None) -> str:
    return "no curve" if value is None else f"AUC {_decimals(value)}"


def _decimals(value: float) -> str:
    """Two decimals without the leading zero."""
    return f"{value:.2f}".removeprefix("0")


def _count(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def _tiles(n: float) -> str:
    return f"{_count(n)} tile{'' if n == 1 else 's'}" if n else "no tiles"
