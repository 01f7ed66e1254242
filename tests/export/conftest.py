"""Made-up slides with all that exporters read: cells of every kind, bounds, pixels that are not square."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.complete_scores import no_quality
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.heatmap import Heatmap, stitch
from wsi_necrosis.quantify.percentage import NecrosisScore, measure
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings, load_settings
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.grid import TileGrid, cell_pixels
from wsi_necrosis.tiling.mask import MaskClass, TissueMask
from wsi_necrosis.tiling.quality import Measure

PX_L0 = (8, 4)  # of the mask; 4 um each way at the mpp below
MPP = Mpp(0.5, 1.0)
PINK, GLASS = (214, 150, 190), (243, 243, 243)


@dataclass(frozen=True)
class MadeUp:
    """A slide and all that was found on it."""

    info: SlideInfo
    layers: Layers
    scores: Scores
    heatmap: Heatmap
    score: NecrosisScore
    settings: QuantifySettings

    @property
    def result(self) -> dict[str, Any]:
        """What `result.json` says of the score."""
        return self.score.to_dict()

    @property
    def facts(self) -> dict[str, Any]:
        """What `result.json` says beside the score, as far as exports read it."""
        provenance = {
            "slide": {"mpp_x": MPP.x, "mpp_y": MPP.y},
            "grid": {"working_mpp_x": 1.0, "working_mpp_y": 1.0, "tile_px": 256, "stride_px": 128},
            "model": {"name": "made up", "sha256": "0" * 64},
            "versions": {"wsi-necrosis": "0.1.0"},
        }
        return {"slide_id": self.info.path.name, "provenance": provenance}


@pytest.fixture
def made_up() -> Callable[..., MadeUp]:
    """Make a slide with cells of 128 um (256 by 128 pixels of level 0), tiles twice as wide, and bounds.

    `cols`, `rows`: mask pixels of 4 um. `fill`: "mixed" (a disc of tissue with some of everything),
    "glass", "tissue" (all scored) or "unreadable".
    """
    return _make


def _make(cols: int = 300, rows: int = 210, fill: str = "mixed", seed: int = 0) -> MadeUp:
    rng = np.random.default_rng(seed)
    plane = Box(1000, 600, cols * PX_L0[0] - 3, rows * PX_L0[1] - 1)
    mpp = MPP.scaled(*PX_L0)
    kind = _kind((rows, cols), fill)
    rgb = np.where((kind == MaskClass.TISSUE)[..., None], PINK, GLASS).astype(np.uint8)
    overview = Overview(rgb, kind == MaskClass.UNREADABLE, plane, PX_L0, mpp)
    mask = TissueMask(kind, plane, PX_L0, mpp)
    # a working pixel is 1 um wide: 2 x 1 pixels of level 0
    grid = TileGrid(plane, (2.0, 1.0), Mpp(1.0, 1.0), 256, 128, 8)
    scores = _scores(grid, mask, fill, rng)
    changes = {
        "max_uncertainty": 0.85,
        "min_tumour_mm2": 0.01,
        "undecided_top_prob": 0.0,
        "undecided_entropy": 1.0,
    }
    settings = load_settings().quantify.model_copy(update=changes | {"not_evaluable_top_prob": 0.0})
    heatmap = stitch(scores, settings)
    size = int(plane.right_l0) + 50, int(plane.bottom_l0) + 70
    path = Path("Präparat 7.mrxs")
    info = SlideInfo(
        path, (path,), "mirax", "openslide", size, plane, (1000, 600), (1.0,), (size,), MPP, "metadata", 20.0
    )
    return MadeUp(info, Layers(overview, mask, heatmap), scores, heatmap, measure(scores, settings), settings)


def _kind(shape: tuple[int, int], fill: str) -> np.ndarray:
    y, x = np.indices(shape)
    disc = ((y - shape[0] / 2) / shape[0]) ** 2 + ((x - shape[1] / 2) / shape[1]) ** 2 < 0.45**2
    kind = np.full(
        shape,
        {"tissue": MaskClass.TISSUE, "unreadable": MaskClass.UNREADABLE}.get(fill, MaskClass.GLASS),
        np.uint8,
    )
    if fill == "mixed":
        kind[disc] = MaskClass.TISSUE
        kind[: shape[0] // 4, : shape[1] // 4] = MaskClass.UNREADABLE
    return kind


def _scores(grid: TileGrid, mask: TissueMask, fill: str, rng: np.random.Generator) -> Scores:
    px = cell_pixels(grid, mask)
    scored = px[..., 1] > 0
    state = np.where(scored, CellState.SCORED, CellState.NO_TISSUE).astype(np.uint8)
    failed = scored & (rng.random(scored.shape) < 0.1) & (fill == "mixed")
    state[failed] = CellState.UNREADABLE
    px[failed, 2] += px[failed, 1]
    px[failed, 1] = 0
    prob = rng.dirichlet((0.4, 0.4, 0.4), size=scored.shape)
    prob = np.where((state == CellState.SCORED)[..., None], prob, np.nan).astype(np.float32)
    uncertainty = -(prob * np.log(np.maximum(prob, 1e-9))).sum(axis=-1) / np.log(np.float32(3))
    ood = np.where(state == CellState.SCORED, rng.exponential(0.3, scored.shape), np.nan).astype(np.float32)
    quality = no_quality(scored.shape)
    quality[..., Measure.DEFOCUS] = np.where(np.isfinite(ood), rng.exponential(0.3, scored.shape), np.nan)
    return Scores(grid, mask.px_mm2, prob, uncertainty.astype(np.float32), ood, quality, px, state)
