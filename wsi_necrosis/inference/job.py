"""The description of a slide, its model and its output that is sent to workers."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.provenance import VERSION
from wsi_necrosis.radiomics.extraction import Engine
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.stain.normalise import Normaliser, fit_normaliser
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.grid import TileGrid
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to score blocks of one slide; small and picklable."""

    slide: Path
    mpp: Mpp
    reader: str
    fingerprint: str
    model: str
    model_fingerprint: str
    backend: Backend
    grid: TileGrid
    batch_tiles: int
    folder: Path
    engine: Engine = "compiled"
    normaliser: Normaliser | None = None
    focus_limit: float | None = None
    black_fill: bool = False
    scene: int = 1
    version: str = VERSION

    @property
    def key(self) -> str:
        """Key under which workers keep the opened slide and model of this job."""
        return f"wsi-necrosis-{self.fingerprint}-{self.model_fingerprint}-{os.fspath(self.folder)}"

    @property
    def model_key(self) -> tuple[str, Backend]:
        """Jobs with the same key share a loaded model."""
        return self.model_fingerprint, self.backend


def make_job(plan: Plan, folder: Path, overview: Overview, mask: TissueMask) -> Job:
    """The job of a slide, whose scores go to `folder`."""
    return Job(
        slide=plan.info.path.resolve(),
        mpp=plan.info.known_mpp,
        reader=plan.info.reader,
        fingerprint=plan.inputs["slide"]["fingerprint"],
        model=plan.model,
        model_fingerprint=plan.spec.fingerprint,
        backend=plan.backend,
        grid=plan.grid,
        batch_tiles=plan.batch_tiles,
        folder=folder.resolve(),
        engine=plan.engine,
        normaliser=slide_normaliser(plan.spec, overview, mask),
        focus_limit=plan.inputs["model"]["focus_limit"],
        black_fill=overview.has_black_fill,
        scene=plan.info.scene,
    )


def slide_normaliser(spec: ModelSpec, overview: Overview, mask: TissueMask) -> Normaliser | None:
    """The stain normaliser of a slide, fitted once on its tissue; None where the model needs none."""
    if spec.normalise == "none":
        return None
    tissue = overview.rgb[mask.kind == MaskClass.TISSUE]
    # Without the glass of small holes, as in training: it would shift means and percentiles.
    normaliser = fit_normaliser(spec.normalise, tissue[foreground(tissue)])
    log.info("normaliser of the slide's stains: %s", json.dumps(normaliser.to_dict()))
    return normaliser
