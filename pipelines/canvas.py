"""The sheet that plots are drawn on: PNG, 1800 px wide, legible at 900. Equal input gives equal bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from wsi_necrosis.files import atomic_write

DPI = 200
WIDE = 9.0  # inches
CAPTION_CHARACTERS = 120  # of a line
STYLE: Mapping[str, Any] = MappingProxyType(
    {
        "font.family": "DejaVu Sans",
        "font.size": 12,
        "axes.titlesize": 13,
        "axes.titlepad": 12,
        "axes.labelpad": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "legend.frameon": False,
        "legend.fontsize": 11,
        "lines.linewidth": 2.2,
    }
)
GREY = "#5f5f5f"
PALE = "#c4c4c4"
BLUE = "#1f5fa8"
ORANGE = "#c66a00"


@contextmanager
def picture(path: Path, high: float, caption: str) -> Iterator[Any]:
    """Yield an empty figure, and write it with its caption at the end.

    The metadata name no version of matplotlib, so that bytes depend on what is drawn alone.
    """
    with mpl.rc_context(dict(STYLE)):
        figure = Figure(figsize=(WIDE, high), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
        FigureCanvasAgg(figure)
        yield figure
        lines = "\n".join(textwrap.wrap(caption, CAPTION_CHARACTERS))
        figure.supxlabel(lines, x=0.015, ha="left", size=10, color=GREY)
        with atomic_write(path) as partial:
            figure.savefig(partial, format="png", metadata={"Software": None})
