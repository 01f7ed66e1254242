"""One slide into an output folder: the part that every job of slides shares."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.analysis import Request, SlideReport, Watcher, analyse
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.settings.loading import Settings

from .console.progress import SlideLog, interruptible


@dataclass(frozen=True)
class RunOptions:
    """What the command line adds to the settings of one slide."""

    out: Path
    mpp: Mpp | None = None
    overwrite: bool = False


def measure_slide(slide: Path, settings: Settings, options: RunOptions, watcher: Watcher) -> SlideReport:
    """Analyse a slide into `out/slides/<name>` and bring `out/summary.csv` up to date.

    Raises
    ------
    WsiNecrosisError
        As `analysis.analyse`; also on Ctrl-C and SIGTERM, after which the same command resumes.
    """
    name = slide.resolve().name if slide.name in {"", ".."} else slide.name  # a link keeps its own name
    request = Request(slide, name, options.out / "slides" / name, options.mpp, options.overwrite)
    with interruptible(), SlideLog(watcher) as logged:
        report = analyse(request, settings, logged)
    write_summary(options.out)
    return report
