"""Job: analyse one slide, or say what that would take."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.analysis import SlideReport, Watcher
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.plan import make_plan
from wsi_necrosis.settings.loading import Settings
from wsi_necrosis.slides.slide import open_slide, read_overview
from wsi_necrosis.tiling.grid import Term, cell_pixels
from wsi_necrosis.tiling.tissue import find_tissue

from .one_slide import RunOptions, measure_slide


def run(slide: Path, settings: Settings, options: RunOptions, watcher: Watcher) -> SlideReport:
    """Analyse a slide; errors and files as `one_slide.measure_slide`."""
    return measure_slide(slide, settings, options, watcher)


def dry_run(slide: Path, settings: Settings, mpp: Mpp | None) -> str:
    """What `run` would do, as text; nothing is written."""
    with open_slide(slide, mpp) as opened:
        plan = make_plan(opened, settings)
        mask = find_tissue(read_overview(opened, settings.tissue.mpp_um), settings.tissue)
    px = cell_pixels(plan.grid, mask)
    tissue = px[..., Term.TISSUE] > 0
    facts = {
        "slide": slide,
        "mpp": f"{plan.info.known_mpp} um ({plan.info.mpp_source})",
        "model": f"{plan.spec.name} with {plan.backend}",
        "working mpp": f"{plan.grid.mpp} um",
        "cells": f"{plan.grid.shape[0]} x {plan.grid.shape[1]} of {plan.grid.stride_px} px",
        "tiles to score": int(tissue.sum()),
        "blocks": sum(bool(tissue[block.cells].any()) for block in plan.grid.blocks()),
        "tissue": f"{px[..., Term.TISSUE].sum(dtype=int) * mask.px_mm2:.2f} mm2",
        "scoring": plan.fingerprints["scoring"],
    }
    return "\n".join(f"{name:>15}  {value}" for name, value in facts.items())
