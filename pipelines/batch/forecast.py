"""How long slides will take and how much disk, by slides that are finished, or else by figures of another machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from wsi_necrosis.export.summary import slide_folders
from wsi_necrosis.inference.cluster import count_workers
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.inference.speed import seconds_per_tile
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.scores.slide_folder import FILES, PERF, RESULT
from wsi_necrosis.settings.run import Settings

MOST_READ = 200  # finished slides
# Where no slide is finished: the quickest of 200 montages of 73 tiles on a shared machine, an AMD EPYC with 2 cores,
# 2026-11-29 (`perf.json` of benchmarks/batch_of_slides.py), and the files of such slides.
READ_S = 0.003  # reading and cutting a tile, in one thread
FINISH_S = 2.0  # measuring and exporting a slide, while others are scored
CELL_BYTES, FEATURE_BYTES = 120, 4  # scores, tables and heatmap of a cell; each of its features
MASK_BYTES = 2.0  # overview and mask, for each pixel of the overview
PICTURE_BYTES = 1.1  # overlay and thumbnail, for each pixel of a square of their longer side
ASSUMED = (
    "the speed of the model here, just measured, and on constants for all else (AMD EPYC, 2 cores, 2026-11-29), as no "
    "slide is finished here by this model"
)

Timer = Callable[[str, Backend, int], float]


@dataclass(frozen=True)
class Finished:
    """What a finished slide took: tiles, seconds of scoring and of what follows, bytes, and bytes by our formula."""

    tiles: int
    score_s: float
    finish_s: float
    bytes: int
    expected_bytes: float


class Forecast:
    """Time and disk of slides, in a batch that finishes a slide while it scores the next.

    Parameters
    ----------
    settings : Settings
        Of the batch.
    out : Path
        Folder of results, where slides that the same model and backend scored may be.
    timed : callable
        Measures seconds per tile of a model on a backend, once, where none is finished.
    """

    def __init__(self, settings: Settings, out: Path, timed: Timer = seconds_per_tile) -> None:
        self._settings, self._out, self._timed = settings, out, timed
        self._finished: list[Finished] | None = None
        self._tile_s: float | None = None

    def seconds(self, plan: Plan, tiles: int) -> float:
        """Expected time of a slide."""
        finished = self._like(plan)
        if finished:
            tile_s = sum(each.score_s for each in finished) / sum(each.tiles for each in finished)
            return max(tiles * tile_s, sum(each.finish_s for each in finished) / len(finished))
        if self._tile_s is None:
            self._tile_s = self._timed(plan.model, plan.backend, plan.batch_tiles) + READ_S
        at_once = count_workers(self._settings.cluster) if plan.backend.device == "cpu" else 1
        return max(tiles * self._tile_s / at_once, FINISH_S)

    def disk_mb(self, plan: Plan) -> float:
        """Expected size of a slide's results."""
        finished, size = self._like(plan), plan.info.size_l0
        expected = self._bytes(plan, (plan.info.known_mpp.x * size[0], plan.info.known_mpp.y * size[1]))
        if finished:
            expected *= sum(each.bytes for each in finished) / sum(each.expected_bytes for each in finished)
        return expected / 1e6

    def basis(self) -> str:
        """What the forecasts so far are based on."""
        if not self._finished:
            return ASSUMED
        return f"{len(self._finished)} finished slides in {self._out} with the same model on the same backend"

    def _like(self, plan: Plan) -> list[Finished]:
        """Slides that are finished; those of the first plan serve all, as model and backend are those of the batch."""
        if self._finished is None:
            self._finished = list(islice(self._read(plan), MOST_READ))
        return self._finished

    def _read(self, plan: Plan) -> Iterator[Finished]:
        for folder in slide_folders(self._out):
            try:
                result, perf, files = (
                    json.loads((folder / name).read_text("utf-8")) for name in (RESULT, PERF, FILES)
                )
                if (
                    perf["tiles"]
                    and not perf["tiles_kept"]
                    and _is_alike(result["provenance"]["inputs"], plan)
                ):
                    yield self._measured(result["provenance"]["slide"], perf, files, plan)
            except (
                OSError,
                ValueError,
                KeyError,
                TypeError,
            ):  # of another version, or damaged: it has no say
                continue

    def _measured(
        self, slide: dict[str, Any], perf: dict[str, Any], files: dict[str, Any], plan: Plan
    ) -> Finished:
        seconds, (width, height) = perf["seconds"], slide["size_l0"]
        size_um = slide["mpp_x"] * width, slide["mpp_y"] * height
        return Finished(
            perf["tiles"],
            seconds["score"],
            seconds["measure"] + seconds["export"],
            sum(each["bytes"] for each in files["files"].values()),
            self._bytes(plan, size_um),
        )

    def _bytes(self, plan: Plan, size_um: tuple[float, float]) -> float:
        """Size of the results of a slide by their layout, for its sides in um."""
        area_um2, stride_um = size_um[0] * size_um[1], plan.grid.stride_px * plan.grid.mpp.side
        cells = area_um2 / stride_um**2 * (CELL_BYTES + FEATURE_BYTES * len(plan.spec.recipe.names))
        overview = MASK_BYTES * area_um2 / self._settings.tissue.mpp_um**2
        return cells + overview + PICTURE_BYTES * self._settings.export.overlay_px**2


def _is_alike(inputs: dict[str, Any], plan: Plan) -> bool:
    """Whether a slide was scored by the same model on the same backend, and with tiles as dense."""
    return all(inputs[name] == plan.inputs[name] for name in ("model", "backend", "grid"))
