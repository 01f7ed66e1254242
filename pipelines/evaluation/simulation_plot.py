"""Plot percent viable found on simulated slides against what was true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_necrosis.model.quantity import EstimatorFigures, Quantity

from ..canvas import BLUE, GREY, ORANGE, PALE, picture

COLOURS = (BLUE, ORANGE, "#1b7f5c", "#7a3b8f", "#8a6d00", "#a3324b")
MARKERS = ("o", "s", "^", "D", "v", "P")
TITLES = {"soft": "Soft sums", "hard": "Hard counts"}
TICKS = range(0, 101, 20)
CAPTION = (
    "Simulated slides of crops of left-out cases: mean of a scene and its standard deviation over slides and seeds. "
    "Grey: readings that cannot be told from no viable tumour (below) and from tumour that is all viable (above); "
    "dotted: the mean reading there."
)


def found_plot(path: Path, quantity: Quantity, figures: Mapping[str, Any]) -> None:
    """Draw found against true percent viable, a panel for each estimator, with the ends of the scale as bands.

    Parameters
    ----------
    path : Path
        The PNG to write; one that exists is replaced.
    quantity : Quantity
        Which estimator leads, and the figures of both.
    figures : mapping
        `training.quantity.SimulatedQuantity.figures` of the same slides.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    groups = list(figures["by_group"])
    with picture(path, 6.5, CAPTION) as figure:
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, way in zip(panels, TITLES, strict=True):
            of_way = quantity.soft if way == "soft" else quantity.hard
            _ends(axes, of_way)
            axes.plot([0, 100], [0, 100], color=PALE, linewidth=1.2, zorder=1)
            for at, group in enumerate(groups):
                _group(axes, [scene for scene in figures["scenes"] if scene["group"] == group], way, at)
            leads = ", leads" if quantity.estimator == way else ""
            axes.set_title(f"{TITLES[way]}{leads}\nRMSE {of_way.rmse:.1f} points, slope {of_way.slope:.2f}")
            axes.set(xlim=(-4, 104), ylim=(-4, 104), box_aspect=1, xlabel="true viable tumour, %")
            axes.set_xticks(TICKS)
            axes.set_yticks(TICKS)
        panels[0].set_ylabel("found viable tumour, %")
        if len(groups) <= len(COLOURS):
            handles, labels = panels[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=len(groups))


def _group(axes: Any, scenes: Sequence[Mapping[str, Any]], way: str, at: int) -> None:
    axes.errorbar(
        [scene["true"] for scene in scenes],
        [scene[way]["mean"] for scene in scenes],
        [scene[way]["sd"] for scene in scenes],
        color=COLOURS[at % len(COLOURS)],
        marker=MARKERS[at % len(MARKERS)],
        markersize=6,
        linewidth=1.4,
        capsize=3,
        label=scenes[0]["group"],
        zorder=3,
    )


def _ends(axes: Any, figures: EstimatorFigures) -> None:
    """Bands of what cannot be told from either end, with a line at the mean reading there."""
    for end, edge in ((figures.blank, 0), (figures.full, 100)):
        if end is not None:
            axes.axhspan(edge, end.limit, color=GREY, alpha=0.12, linewidth=0, zorder=0)
            axes.axhline(end.mean, color=GREY, linestyle=":", linewidth=1.2, zorder=1)
