"""`wsi-necrosis run`: analyse one slide, or print what would be done."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.analysis import analyse
from wsi_necrosis.errors import SlideError, UsageError
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.names import safe_name
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.request import Request
from wsi_necrosis.scores.slide_folder import SLIDES
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.slides.openslide_reader import existing_file
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.tiatoolbox_reader import is_zarr
from wsi_necrosis.stages import plan_of
from wsi_necrosis.tiling.grid import PixelCount, cell_pixels

from .console.locked import ending_when_locked
from .console.signals import interruptible
from .console.slide_log import SlideLog


@dataclass(frozen=True)
class Options:
    """What is asked of a slide beside settings: pixel size, scene, outlines, and whether results are replaced."""

    mpp: Mpp | None = None
    scene: str | None = None
    roi: Path | None = None
    tissue: Path | None = None
    overwrite: bool = False

    def request(self, slide: Path) -> Request:
        """The slide with these options, for a plan; no results are asked for."""
        return Request(slide, slide, mpp=self.mpp, scene=self.scene, roi=self.roi, tissue=self.tissue)


def run(
    slide: Path,
    out: Path,
    settings: Settings,
    watcher: Watcher,
    options: Options = Options(),
) -> SlideReport:
    """Analyse a slide into `out/slides/<name>` and bring `out/summary.csv` up to date.

    Raises
    ------
    WsiNecrosisError
        As `analysis.analyse`; also on Ctrl-C and SIGTERM, after which the same command resumes.
    """
    require_slide(slide, out)
    name = slide.resolve().name if slide.name in {"", ".."} else slide.name  # a link keeps its own name
    folder = out / SLIDES / safe_name(name)
    with interruptible(), ending_when_locked(settings.cluster.block_limit_s), SlideLog(watcher) as logged:
        report = analyse(
            slide, folder, settings, logged, mpp=options.mpp, slide_id=name, overwrite=options.overwrite,
            scene=options.scene, roi=options.roi, tissue=options.tissue,
        )  # fmt: skip
    write_summary(out)
    return report


@dataclass(frozen=True)
class Preview:
    """What an analysis of a slide would do."""

    plan: Plan
    tiles: int
    blocks: int
    tissue_mm2: float


def preview(request: Request, settings: Settings) -> Preview:
    """Plan a slide and find its tissue; nothing is written.

    Raises
    ------
    WsiNecrosisError
        As `analysis.analyse`, before it writes.
    """
    # scipy and shapely, which up-to-date results do not need
    from wsi_necrosis.tiling.regions import with_regions
    from wsi_necrosis.tiling.tissue import find_tissue

    with open_slide(request.slide, request.mpp, scene=request.scene) as opened:
        plan = plan_of(opened, request, settings)
        found = find_tissue(read_overview(opened, settings.tissue.mpp_um), settings.tissue)
    mask = with_regions(found, plan.regions)
    px = cell_pixels(plan.grid, mask)
    tissue = px[..., PixelCount.TISSUE] > 0
    blocks = sum(bool(tissue[block.cells].any()) for block in plan.grid.blocks())
    mm2 = float(px[..., PixelCount.TISSUE].sum(dtype=int) * mask.px_mm2)
    return Preview(plan, int(tissue.sum()), blocks, mm2)


def dry_run(slide: Path, settings: Settings, options: Options = Options()) -> str:
    """What `run` would do, as text; nothing is written."""
    # Dask, which a run that finds its results up to date does not need
    from wsi_necrosis.inference.cluster import count_workers
    from wsi_necrosis.inference.speed import faster_model

    require_slide(slide, Path("OUT"))
    found = preview(options.request(slide), settings)
    plan = found.plan
    facts = {
        "slide": slide,
        "mpp": f"{plan.info.known_mpp} um ({plan.info.mpp_source})",
        "model": f"{plan.spec.name} with {plan.backend}",
        "working mpp": f"{plan.grid.mpp} um",
        "cells": f"{plan.grid.shape[0]} x {plan.grid.shape[1]} of {plan.grid.stride_px} px",
        "tiles to score": found.tiles,
        "blocks": found.blocks,
        "tissue": f"{found.tissue_mm2:.2f} mm2",
        "scoring": plan.fingerprints["scoring"],
    }
    hint = faster_model(plan, settings.model, found.tiles, count_workers(settings.cluster))
    if hint is not None:
        facts["faster"] = hint
    lines = [*facts.items(), *(("warning", each.text) for each in plan.info.warnings)]
    return "\n".join(f"{name:>15}  {value}" for name, value in lines)


def require_slide(path: Path, out: Path) -> None:
    """Refuse a folder that is no slide, and name the command for the slides in it.

    Raises
    ------
    UsageError
        The folder holds no DICOM slide or more than one, and is no OME-Zarr image.
    """
    if not path.is_dir() or is_zarr(path):
        return
    try:
        existing_file(path)
    except SlideError as error:
        command = shlex.join(["wsi-necrosis", "batch", str(path), "-o", str(out)])
        raise UsageError(f"{error}. For all slides in it: {command}") from None
