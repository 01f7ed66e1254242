"""`wsi-necrosis run`: analyse one slide, or print what would be done."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.analysis import analyse
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.plan import make_plan
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.scores.slide_folder import SLIDES
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.grid import PixelCount, cell_pixels

from .console.signals import interruptible
from .console.slide_log import SlideLog


def run(
    slide: Path,
    out: Path,
    settings: Settings,
    watcher: Watcher,
    *,
    mpp: Mpp | None = None,
    overwrite: bool = False,
) -> SlideReport:
    """Analyse a slide into `out/slides/<name>` and bring `out/summary.csv` up to date.

    Raises
    ------
    WsiNecrosisError
        As `analysis.analyse`; also on Ctrl-C and SIGTERM, after which the same command resumes.
    """
    name = slide.resolve().name if slide.name in {"", ".."} else slide.name  # a link keeps its own name
    folder = out / SLIDES / name
    with interruptible(), SlideLog(watcher) as logged:
        report = analyse(slide, folder, settings, logged, mpp=mpp, slide_id=name, overwrite=overwrite)
    write_summary(out)
    return report


def dry_run(slide: Path, settings: Settings, mpp: Mpp | None) -> str:
    """What `run` would do, as text; nothing is written."""
    # scipy and Dask, which a run that finds its results up to date does not need
    from wsi_necrosis.inference.cluster import count_workers
    from wsi_necrosis.inference.speed import faster_model
    from wsi_necrosis.tiling.tissue import find_tissue

    with open_slide(slide, mpp) as opened:
        plan = make_plan(opened, settings)
        mask = find_tissue(read_overview(opened, settings.tissue.mpp_um), settings.tissue)
    px = cell_pixels(plan.grid, mask)
    tissue = px[..., PixelCount.TISSUE] > 0
    facts = {
        "slide": slide,
        "mpp": f"{plan.info.known_mpp} um ({plan.info.mpp_source})",
        "model": f"{plan.spec.name} with {plan.backend}",
        "working mpp": f"{plan.grid.mpp} um",
        "cells": f"{plan.grid.shape[0]} x {plan.grid.shape[1]} of {plan.grid.stride_px} px",
        "tiles to score": int(tissue.sum()),
        "blocks": sum(bool(tissue[block.cells].any()) for block in plan.grid.blocks()),
        "tissue": f"{px[..., PixelCount.TISSUE].sum(dtype=int) * mask.px_mm2:.2f} mm2",
        "scoring": plan.fingerprints["scoring"],
    }
    hint = faster_model(plan, settings.model, int(tissue.sum()), count_workers(settings.cluster))
    if hint is not None:
        facts["faster"] = hint
    return "\n".join(f"{name:>15}  {value}" for name, value in facts.items())
