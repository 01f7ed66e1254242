"""What a batch would do: a line for each slide, and the sum; nothing is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from wsi_necrosis.errors import WsiNecrosisError
from wsi_necrosis.inference.cluster import count_workers
from wsi_necrosis.inference.speed import faster_model
from wsi_necrosis.settings.run import Settings

from ..console.printout import duration
from ..run import preview
from .batch import Options, is_finished, request_of, with_backend
from .forecast import Forecast
from .inputs import gather


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
    based_on: str = ""
    problem: str = ""
    up_to_date: bool = False


def preview_batch(
    named: Sequence[str], settings: Settings, options: Options, *, as_json: bool = False
) -> Iterator[str]:
    """Lines that say what a batch would do with each slide, then the sum and what is wrong.

    Parameters
    ----------
    named : sequence of str
        As `inputs.gather` takes them.
    settings : Settings
        Of the batch.
    options : Options
        As `batch` takes them. Finished slides in the folder of results say how long others will take.
    as_json : bool
        A line of JSON for each slide, and nothing else.

    Raises
    ------
    UsageError, ModelError
        What `batch` would refuse before it touches a slide.
    """
    gathered = gather(named, options.where)
    chosen = with_backend(settings)
    forecast = Forecast(settings, options.out)
    previews, last = [], None
    for slide in gathered.slides:
        facts = SlidePreview(slide.name, str(slide.path))
        try:
            done = is_finished(request_of(slide, options), chosen)
            found = preview(request_of(slide, options), settings)
        except WsiNecrosisError as error:
            facts = SlidePreview(slide.name, str(slide.path), problem=str(error))
        else:
            last = plan = found.plan
            info, mpp = plan.info, plan.info.known_mpp
            facts = SlidePreview(
                slide.name, str(slide.path), info.size_l0, (mpp.x, mpp.y), info.mpp_source,
                round(found.tissue_mm2, 2), found.tiles, 0.0 if done else round(forecast.seconds(plan, found.tiles), 1),
                0.0 if done else round(forecast.disk_mb(plan), 1), forecast.basis(),
                "" if found.tiles else "no tissue found", done,
            )  # fmt: skip
        previews.append(facts)
        yield json.dumps(asdict(facts)) if as_json else _line(facts)
    if not as_json:
        yield _sum(previews)
        tiles = sum(each.tiles or 0 for each in previews)
        hint = last and faster_model(last, settings.model, tiles, count_workers(settings.cluster))
        notes = [
            f"times and sizes are based on {forecast.basis()}",
            *gathered.warnings,
            *(f"{each.path} is left out: {each.reason}" for each in gathered.skipped),
        ]
        yield from (f"note: {each}" for each in [*notes, *([hint] if hint else [])])


def _line(facts: SlidePreview) -> str:
    if facts.size_px is None or facts.mpp is None:
        return f"{facts.slide}: would fail: {facts.problem}"
    width, height = facts.size_px
    cost = f"about {duration(facts.seconds or 0)}, {_size(facts.disk_mb or 0)}"
    said = (
        f"{facts.slide}: {width} x {height} px of {facts.mpp[0]:g} x {facts.mpp[1]:g} um ({facts.mpp_source}), "
        f"tissue {facts.tissue_mm2:.2f} mm2, {facts.tiles} tiles, "
        f"{'results are up to date' if facts.up_to_date else cost}"
    )
    return f"{said}; {facts.problem}" if facts.problem else said


def _sum(previews: Sequence[SlidePreview]) -> str:
    good = [each for each in previews if each.tiles is not None]
    to_do = [each for each in good if not each.up_to_date]
    tiles, seconds, disk_mb = (
        sum(getattr(each, name) for each in to_do) for name in ("tiles", "seconds", "disk_mb")
    )
    done = sum(each.up_to_date for each in good)
    return (
        f"{len(previews)} slides, {done} of which are up to date and {len(previews) - len(good)} would fail: {tiles} "
        f"tiles, about {duration(seconds)} and {_size(disk_mb)}"
    )


def _size(mb: float) -> str:
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1e3:.1f} GB"
