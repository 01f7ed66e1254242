"""Slides from file to report, on one page."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import InterruptedRunError, ResultsDifferError, StoreError, WsiNecrosisError
from wsi_necrosis.export.geojson import write_regions
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.export.result_json import Findings, result_of
from wsi_necrosis.export.tiles_table import write_tiles_table
from wsi_necrosis.files import locked, remove, require_writable, write_json
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.cluster import Crew, check_scheduler, connected, count_workers
from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.inference.stats import ScoringStats, WorkerStats, perf_of
from wsi_necrosis.inference.worker import Job
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import ModelSpec, portable_name
from wsi_necrosis.provenance import RESULT_VERSION, differences, versions
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.scores.store import Scores, ScoreStore
from wsi_necrosis.settings.run import ClusterSettings, Settings
from wsi_necrosis.slides.overview import Overview, read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.stain.normalise import Normaliser, fit_normaliser
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.grid import PixelCount, cell_pixels
from wsi_necrosis.tiling.tissue import MaskClass, TissueMask, find_tissue

log = logging.getLogger(__name__)

OUTPUTS = (
    "perf.json",
    "tiles.parquet",
    "heatmap.ome.zarr",
    "regions.geojson",
    "thumbnail.png",
    "overlay.png",
)


class Watcher(Protocol):
    """Who is told how far a slide has come."""

    def folder_ready(self, folder: Path) -> None:
        """Nothing was written before this; from now on the slide's folder exists."""

    def scoring(self, tiles: int, done: int) -> None:
        """Scoring begins: tiles of the slide, and those kept from an earlier run."""

    def scored(self, tiles: int) -> None:
        """So many more tiles are done."""


@dataclass(frozen=True)
class Request:
    """What to analyse, and where its results go.

    Attributes
    ----------
    slide : Path
        The slide's file.
    slide_id : str
        Its name in tables: the path relative to the batch, with the extension.
    folder : Path
        Of the slide's results.
    mpp : Mpp or None
        Pixel size that overrides the file's own.
    overwrite : bool
        Replace results that were made from other inputs.
    """

    slide: Path
    slide_id: str
    folder: Path
    mpp: Mpp | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class SlideReport:
    """What a run found: the content of `result.json`, and the folder that holds it."""

    folder: Path
    result: Mapping[str, Any]


@dataclass(frozen=True)
class Prepared:
    """What is known of a slide before its folder is touched."""

    request: Request
    plan: Plan
    overview: Overview
    mask: TissueMask
    watch: WorkerStats


class Shift:
    """The workers of one slide or of many: they start with the first block and go home at the end."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._crew: Crew | None = None

    def crew(self, device: str) -> Crew:
        """The workers, who are called once."""
        if self._crew is None:
            self._crew = self._stack.enter_context(connected(self._settings, device))
        return self._crew

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def analyse(request: Request, settings: Settings, watcher: Watcher) -> SlideReport:
    """Open a slide, find tissue, score its tiles, measure, and write every result.

    Finished blocks of an interrupted run with the same inputs are kept; a finished result with the
    same inputs and settings is returned as it is. `result.json` is written last: where it exists,
    the folder is complete.

    Raises
    ------
    SlideError, PixelSizeError, SettingsError, ModelError, UsageError
        Before anything is written.
    ResultsDifferError
        The folder holds scores made from other inputs; nothing is changed.
    """
    with Shift(settings.cluster) as shift:
        return _complete(_prepare(request, settings), settings, watcher, shift)


def analyse_all(
    requests: Iterable[Request], settings: Settings, watcher: Watcher
) -> Iterator[tuple[Request, SlideReport | WsiNecrosisError]]:
    """Analyse slides one after another, by the same workers, who keep the model.

    While one slide is scored the next one is opened and its tissue found, so that no worker waits for it; no
    more than these two are held in memory.

    Parameters
    ----------
    requests : iterable of Request
        Taken one ahead of the slide that is scored.
    settings : Settings
        Of all slides.
    watcher : Watcher
        Is told of each slide in turn.

    Yields
    ------
    (Request, SlideReport or WsiNecrosisError)
        In the order of the requests; a slide that fails does not end the others.
    """
    with Shift(settings.cluster) as shift, ThreadPoolExecutor(1) as ahead:
        for request, preparing in _one_ahead(ahead, requests, settings):
            try:
                outcome: SlideReport | WsiNecrosisError = _complete(
                    preparing.result(), settings, watcher, shift
                )
            except InterruptedRunError:
                raise
            except WsiNecrosisError as error:
                outcome = error
            yield request, outcome


def _one_ahead(
    pool: ThreadPoolExecutor, requests: Iterable[Request], settings: Settings
) -> Iterator[tuple[Request, Future[Prepared | SlideReport]]]:
    """Requests, each given when the next one has been begun."""
    current: tuple[Request, Future[Prepared | SlideReport]] | None = None
    for request in requests:
        upcoming = request, pool.submit(_prepare, request, settings)
        if current is not None:
            yield current
        current = upcoming
    if current is not None:
        yield current


def _prepare(request: Request, settings: Settings) -> Prepared | SlideReport:
    """Open a slide, check all that can be checked, and find its tissue; or the report of an earlier run."""
    watch = WorkerStats()
    with watch.stage("open"):
        slide = open_slide(request.slide, request.mpp)
    with slide:
        plan = make_plan(slide, settings)
        kept = None if request.overwrite else _finished(request.folder, plan)
        if kept is not None:
            log.info("results of %s are up to date", request.slide)
            return kept
        _refuse_other_scores(request, plan)
        with watch.stage("model"):
            load_model(settings.model.name, plan.backend)  # a damaged one stops here, not in the workers
            prepare(plan.spec.recipe, plan.grid.mpp.side, settings.radiomics.engine)
        require_writable(request.folder)
        check_scheduler(settings.cluster)
        with watch.stage("tissue"):
            overview = read_overview(slide, settings.tissue.mpp_um)
            mask = find_tissue(overview, settings.tissue)
    return Prepared(request, plan, overview, mask, watch)


def _complete(
    known: Prepared | SlideReport, settings: Settings, watcher: Watcher, shift: Shift
) -> SlideReport:
    """Score, measure and export, in a folder that is ours; a report passes."""
    if isinstance(known, SlideReport):
        return known
    request, plan, mask, watch = known.request, known.plan, known.mask, known.watch
    with locked(request.folder):
        px = cell_pixels(plan.grid, mask)
        store = _open_store(request, plan, px, mask.px_mm2)
        watcher.folder_ready(request.folder)
        _log_plan(request, plan, mask)
        with watch.stage("score"):
            work = _score(known, settings, Scoring(store, px, watcher, shift))
        with watch.stage("measure"):
            scores = _whole(store, px)
            findings = Findings(known.overview, mask, scores, measure(scores, settings.quantify))
        result = result_of(request.slide, request.slide_id, plan, findings)
        with watch.stage("export"):
            _export(request, plan, settings, findings)
        write_json(request.folder / "perf.json", perf_of(watch.seconds, work))
        write_json(request.folder / "result.json", result)
    log.info("%s: percent viable %s, %s", request.slide_id, result["percent_viable"], result["warnings"])
    return SlideReport(request.folder, result)


def _log_plan(request: Request, plan: Plan, mask: TissueMask) -> None:
    info = plan.info
    log.info(
        "slide %s, %s, %s um per pixel (%s)", request.slide, info.vendor, info.known_mpp, info.mpp_source
    )
    log.info("grid of %d x %d cells, working mpp %s", *plan.grid.shape, plan.grid.mpp)
    log.info("mask in mm2: %s", {kind: round(area, 3) for kind, area in mask.area_mm2().items()})
    log.info("inputs of the scores: %s", json.dumps(plan.inputs))
    log.info("versions: %s", json.dumps(versions()))


def _finished(folder: Path, plan: Plan) -> SlideReport | None:
    """The report of a folder whose result was made from the same inputs and settings."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    if not isinstance(result, dict) or result.get("schema_version") != RESULT_VERSION:
        return None
    same = result["provenance"]["fingerprints"] == plan.fingerprints
    whole = ScoreStore.exists(folder) and all((folder / name).exists() for name in OUTPUTS)
    return SlideReport(folder, result) if same and whole else None


def _refuse_other_scores(request: Request, plan: Plan) -> None:
    if request.overwrite or not ScoreStore.exists(request.folder):
        return
    before = ScoreStore(request.folder).plan["inputs"]
    if before["slide"]["fingerprint"] != plan.inputs["slide"]["fingerprint"]:
        raise ResultsDifferError(
            f"{request.folder} holds results of another slide of this name; give another folder with -o, or "
            "--overwrite to lose them"
        )
    changed = differences(before, plan.inputs)
    if changed:
        raise ResultsDifferError(
            f"{request.folder} holds scores made from other inputs ({'; '.join(changed)}); give --overwrite to "
            "replace them, or another folder with -o"
        )


def _open_store(request: Request, plan: Plan, px: NDArray[np.uint32], px_mm2: float) -> ScoreStore:
    """The store to fill: an interrupted one with the same inputs, or a new one."""
    folder = request.folder
    (folder / "result.json").unlink(missing_ok=True)  # first: from here on the folder is not complete
    if ScoreStore.exists(folder) and not request.overwrite:
        return ScoreStore(folder)
    for name in (*OUTPUTS, "log.txt"):
        remove(folder / name)
    facts = {"inputs": plan.inputs, "features": plan.spec.recipe.names}
    return ScoreStore.create(folder, plan.grid, px, px_mm2, facts)


@dataclass(frozen=True)
class Scoring:
    """The store to fill, mask pixels of its cells, who is told of progress, and who works."""

    store: ScoreStore
    px: NDArray[np.uint32]
    watcher: Watcher
    shift: Shift


def _score(known: Prepared, settings: Settings, scoring: Scoring) -> ScoringStats:
    plan, store, watcher = known.plan, scoring.store, scoring.watcher
    blocks = [(block, scoring.px[block.cells]) for block in plan.grid.blocks()]
    blocks = [(block, px) for block, px in blocks if px[..., PixelCount.TISSUE].any()]
    waiting = [(block, px) for block, px in blocks if not store.is_done(block)]
    total, left = (
        sum(int((px[..., PixelCount.TISSUE] > 0).sum()) for _, px in some) for some in (blocks, waiting)
    )
    watcher.scoring(total, total - left)
    took, workers = WorkerStats(), count_workers(settings.cluster)
    memory: dict[str, int] = {}
    if waiting:
        crew = scoring.shift.crew(plan.backend.device)
        workers = sum(crew.threads().values())
        with closing(crew.score(_job(known, settings), waiting)) as finished:
            for done in finished:
                watcher.scored(done.tiles)
                took.add(done.watch)
                memory |= done.memory_mb
    return ScoringStats(left, total, took, workers, memory)


def _job(known: Prepared, settings: Settings) -> Job:
    """What the workers need to know."""
    request, plan = known.request, known.plan
    return Job(
        slide=request.slide.resolve(),
        mpp=plan.info.known_mpp,
        reader=plan.info.reader,
        fingerprint=plan.inputs["slide"]["fingerprint"],
        model=portable_name(settings.model.name),
        model_fingerprint=plan.spec.fingerprint,
        backend=plan.backend,
        grid=plan.grid,
        batch_tiles=plan.batch_tiles,
        folder=request.folder.resolve(),
        engine=settings.radiomics.engine,
        normaliser=slide_normaliser(plan.spec, known.overview, known.mask),
    )


def slide_normaliser(spec: ModelSpec, overview: Overview, mask: TissueMask) -> Normaliser | None:
    """What brings the slide's stains to the model's standard, fitted once on its tissue, if the model asks for it."""
    if spec.normalise == "none":
        return None
    tissue = overview.rgb[mask.kind == MaskClass.TISSUE]
    # Without the glass of small holes, as in training: it would shift means and percentiles.
    normaliser = fit_normaliser(spec.normalise, tissue[foreground(tissue)])
    log.info("normaliser of the slide's stains: %s", json.dumps(normaliser.to_dict()))
    return normaliser


def _whole(store: ScoreStore, px: NDArray[np.uint32]) -> Scores:
    """The scores, once it is sure that no chunk of the ledger was lost on disk."""
    scores = store.read()
    if not np.array_equal(scores.px.sum(axis=-1), px.sum(axis=-1)):
        raise StoreError(f"{store.folder} has lost part of its scores; run with --overwrite")
    return scores


def _export(request: Request, plan: Plan, settings: Settings, findings: Findings) -> None:
    folder, scores = request.folder, findings.scores
    heat = stitch(scores, settings.quantify)
    write_tiles_table(folder / "tiles.parquet", scores)
    write_ome_zarr(folder / "heatmap.ome.zarr", heat, request.slide_id)
    write_regions(folder / "regions.geojson", scores, heat, plan.info, plan.inputs["slide"]["fingerprint"])
    write_thumbnail(folder / "thumbnail.png", findings.overview, settings.export)
    layers = Layers(findings.overview, findings.mask, heat)
    pixel_size = f"{plan.info.known_mpp} um ({plan.info.mpp_source})"
    caption = Caption(request.slide_id, f"{plan.spec.name} ({plan.spec.weights_sha256[:8]})", pixel_size)
    write_overlay(folder / "overlay.png", layers, findings.score, caption, settings.export)
