"""What a batch would do: a line for each slide, and the sum; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from wsi_necrosis.errors import WsiNecrosisError
from wsi_necrosis.inference.cluster import count_workers
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.inference.speed import faster_model, seconds_per_tile
from wsi_necrosis.model.loading import choose_backend
from wsi_necrosis.settings.run import Settings

from ..run import preview
from .inputs import Where, gather

SPARE_S = 2.0  # opening, tissue, measuring and exports of a slide without tiles
READ_S = 0.01  # reading and cutting a tile, in one thread
CELL_BYTES, FEATURE_BYTES = 120, 4  # scores, tables and heatmap of a cell; each of its features
MASK_BYTES = 2.0  # overview and mask, for each pixel of the overview
PICTURE_BYTES = 1.5  # overlay and thumbnail, for each pixel of a square of their longer side


@dataclass(frozen=True)
class SlidePreview:
    """What the analysis of a slide would do, or why it would fail."""

    slide: str
    path: str
    size_px: tuple[int, int] | None = None
    mpp: tuple[float, float] | None = None
    mpp_source: str = ""
    tissue_mm2: float | None = None
    tiles: int | None = None
    seconds: float | None = None
    disk_mb: float | None = None
    problem: str = ""


class Forecast:
    """Time and disk of slides; the model's speed is measured once, with the first slide."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tile_s: float | None = None

    def seconds(self, plan: Plan, tiles: int) -> float:
        """Expected time of a slide."""
        if self._tile_s is None:
            self._tile_s = seconds_per_tile(plan.model, plan.backend, plan.batch_tiles) + READ_S
        at_once = count_workers(self._settings.cluster) if plan.backend.device == "cpu" else 1
        return SPARE_S + tiles * self._tile_s / at_once

    def disk_mb(self, plan: Plan) -> float:
        """Expected size of a slide's results."""
        rows, cols = plan.grid.shape
        cells = rows * cols * (CELL_BYTES + FEATURE_BYTES * len(plan.spec.recipe.names))
        mpp, plane = plan.info.known_mpp, plan.info.plane
        area_um2 = plane.width_l0 * mpp.x * plane.height_l0 * mpp.y
        overview = MASK_BYTES * area_um2 / self._settings.tissue.mpp_um**2
        return (cells + overview + PICTURE_BYTES * self._settings.export.overlay_px**2) / 1e6


def preview_batch(
    named: Sequence[str], settings: Settings, where: Where, *, as_json: bool = False
) -> Iterator[str]:
    """Lines that say what a batch would do with each slide, then the sum and what is wrong.

    Parameters
    ----------
    named : sequence of str
        As `inputs.gather` takes them.
    settings : Settings
        Of the batch.
    where : Where
        How slides are looked for, and their pixel sizes.
    as_json : bool
        A line of JSON for each slide, and nothing else.

    Raises
    ------
    UsageError, ModelError
        What `batch` would refuse before it touches a slide.
    """
    gathered = gather(named, where)
    choose_backend(settings.model)
    forecast = Forecast(settings)
    previews, last = [], None
    for slide in gathered.slides:
        facts = SlidePreview(slide.name, str(slide.path))
        try:
            found = preview(slide.path, settings, slide.mpp)
        except WsiNecrosisError as error:
            facts = SlidePreview(slide.name, str(slide.path), problem=str(error))
        else:
            last = plan = found.plan
            info, mpp = plan.info, plan.info.known_mpp
            facts = SlidePreview(
                slide.name, str(slide.path), info.size_l0, (mpp.x, mpp.y), info.mpp_source,
                round(found.tissue_mm2, 2), found.tiles, round(forecast.seconds(plan, found.tiles), 1),
                round(forecast.disk_mb(plan), 1), "" if found.tiles else "no tissue found",
            )  # fmt: skip
        previews.append(facts)
        yield json.dumps(asdict(facts)) if as_json else _line(facts)
    if not as_json:
        yield _sum(previews)
        tiles = sum(each.tiles or 0 for each in previews)
        hint = last and faster_model(last, settings.model, tiles, count_workers(settings.cluster))
        notes = [
            *gathered.warnings,
            *(f"{each.path} is left out: {each.reason}" for each in gathered.skipped),
        ]
        yield from (f"note: {each}" for each in [*notes, *([hint] if hint else [])])


def _line(facts: SlidePreview) -> str:
    if facts.size_px is None or facts.mpp is None:
        return f"{facts.slide}: would fail: {facts.problem}"
    width, height = facts.size_px
    said = (
        f"{facts.slide}: {width} x {height} px of {facts.mpp[0]:g} x {facts.mpp[1]:g} um ({facts.mpp_source}), "
        f"tissue {facts.tissue_mm2:.2f} mm2, {facts.tiles} tiles, about {_duration(facts.seconds or 0)}, "
        f"{facts.disk_mb:.0f} MB"
    )
    return f"{said}; {facts.problem}" if facts.problem else said


def _sum(previews: Sequence[SlidePreview]) -> str:
    good = [each for each in previews if each.tiles is not None]
    tiles, seconds, disk_mb = (
        sum(getattr(each, name) for each in good) for name in ("tiles", "seconds", "disk_mb")
    )
    return (
        f"{len(previews)} slides, {len(previews) - len(good)} of which would fail: {tiles} tiles, about "
        f"{_duration(seconds)} and {disk_mb / 1e3:.1f} GB"
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
