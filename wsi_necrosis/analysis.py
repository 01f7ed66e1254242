"""Analyse slides: find tissue, score tiles, measure, export and report."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat

from wsi_necrosis.claims import Lease, claimed, claimed_by
from wsi_necrosis.errors import ClaimedError, InterruptedRunError, UnexpectedError, WsiNecrosisError
from wsi_necrosis.export.result_json import result_of
from wsi_necrosis.files import require_writable, write_json
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.job import make_job
from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.inference.pool import WorkerPool, score_slide
from wsi_necrosis.inference.stats import WorkerStats, perf_of
from wsi_necrosis.inference.watcher import QuietWatcher, Watcher
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.provenance import versions
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.request import Request, working_on
from wsi_necrosis.scores.slide_folder import PERF, RESULT, SlideFolder
from wsi_necrosis.scores.work_folder import begin, publish, require_inputs
from wsi_necrosis.settings.run import Settings, load_settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.tiling.grid import cell_pixels
from wsi_necrosis.tiling.mask import Tissue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsi_necrosis.scores.store import ScoreStore

LOOK_AGAIN_S = 2.0  # after slides that another process works on
log = logging.getLogger(__name__)


def analyse(
    slide: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    watcher: Watcher | None = None,
    *,
    mpp: SupportsFloat | Mpp | None = None,
    slide_id: str = "",
    overwrite: bool = False,
) -> SlideReport:
    """Measure percent viable tumour on a slide: find tissue, score tiles, measure, and write every result.

    Finished blocks of an interrupted run with the same inputs are kept; a finished result with the same inputs and
    settings is returned as it is. Work is done in a hidden folder beside `out`, which is renamed to `out` when it is
    complete, so that `out` is there as a whole or not at all. Of several processes one works on a slide at a time;
    another one takes over from a process that has ended or is silent (settings `claims`).

    Parameters
    ----------
    slide : str or Path
        The slide's file.
    out : str or Path
        Folder of the slide's results.
    settings : Settings, optional
        By default the shipped ones; `load_settings(overrides=["model.name=phantom"])` makes others.
    watcher : Watcher, optional
        Receives progress.
    mpp : float or Mpp, optional
        Size of a level-0 pixel in um, instead of what the file says.
    slide_id : str
        The slide's name in tables; by default the file's name.
    overwrite : bool
        Replace results that were made from other inputs.

    Returns
    -------
    SlideReport
        Percent viable tumour, warnings, and access to all results.

    Raises
    ------
    SlideError, PixelSizeError, SettingsError, ModelError, UsageError
        Before anything is written.
    ResultsDifferError
        The folder holds scores made from other inputs; nothing is changed.
    ClaimedError
        Another process works on the slide.
    ClaimLostError
        This process was silent for too long, and another one took the slide over.
    FailedBlocksError, SlideChangedError
        Blocks could not be read or scored in two tries, or the slide changed meanwhile. There is no result, and
        finished blocks are kept.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> truth = wn.write_phantom("small.tiff", side_mm=1.0)
    >>> small = ["model.name=phantom", "quantify.min_tumour_mm2=0.05"]
    >>> report = wn.analyse("small.tiff", "results", wn.load_settings(overrides=small))
    >>> abs(report.percent_viable - truth.percent_viable) < 3
    True
    >>> report.scores().prob.shape[-1], report.heatmap().channels.shape[0]
    (3, 4)
    """
    settings = settings or load_settings()
    request = Request(slide, out, slide_id, mpp, overwrite=overwrite)
    with WorkerPool(settings.cluster) as pool:
        prepared = _prepare(request, settings, pool, WorkerStats())
        return _complete(prepared, settings, watcher or QuietWatcher(), pool)


def analyse_all(
    requests: Iterable[Request], settings: Settings | None = None, watcher: Watcher | None = None
) -> Generator[tuple[Request, SlideReport | WsiNecrosisError], None, None]:
    """Analyse slides one after another, on the same workers, which keep the model loaded.

    While one slide is scored the next one is opened and its tissue found, so that no worker waits for it; no
    more than these two are in memory. Several processes may analyse the same slides into the same folders: each
    slide is scored once. Slides that another process works on are waited for at the end, and taken over from a process
    that has ended or is silent.

    Parameters
    ----------
    requests : iterable of Request
        Each is taken while the slide before it is scored.
    settings : Settings, optional
        The same for all slides; by default the shipped ones.
    watcher : Watcher, optional
        Receives the progress of each slide in turn.

    Yields
    ------
    (Request, SlideReport or WsiNecrosisError)
        In the order of the requests, but for slides that another process works on, which come last; a slide that
        fails does not end the others.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> requests = [wn.Request(name, f"batch/{name}") for name in ("small.tiff", "none.tiff")]
    >>> for request, outcome in wn.analyse_all(requests, wn.load_settings(overrides=["model.name=phantom"])):
    ...     print(request.name, type(outcome).__name__)
    small.tiff SlideReport
    none.tiff SlideError
    """
    settings, watcher = settings or load_settings(), watcher or QuietWatcher()
    with WorkerPool(settings.cluster) as pool, ThreadPoolExecutor(1) as ahead:
        pool.require_scheduler()
        while True:
            elsewhere = []
            for request, stats, preparing in _one_ahead(ahead, requests, settings, pool):
                outcome = _outcome(request, preparing, settings, watcher, pool)
                if isinstance(outcome, ClaimedError):
                    elsewhere.append(request)
                    continue
                if isinstance(outcome, WsiNecrosisError):
                    outcome.stage = list(stats.seconds)[-1] if stats.seconds else "open"
                yield request, outcome
            if not elsewhere:
                return
            log.info("waiting for %d slides that other processes work on", len(elsewhere))
            requests = elsewhere
            time.sleep(min(LOOK_AGAIN_S, settings.claims.heartbeat_s))


def _outcome(
    request: Request, preparing: Future[Prepared], settings: Settings, watcher: Watcher, pool: WorkerPool
) -> SlideReport | WsiNecrosisError:
    try:
        return _complete(preparing.result(), settings, watcher, pool)
    except InterruptedRunError:
        raise
    except WsiNecrosisError as error:
        return error
    except Exception as error:  # noqa: BLE001  # the boundary of a batch: one slide must not end the others
        return UnexpectedError.of(error, str(request.slide))


def finished_report(request: Request, settings: Settings) -> SlideReport | None:
    """The results of a slide where they are up to date; the slide is opened, and nothing is written.

    Parameters
    ----------
    request : Request
        Slide and folder of its results.
    settings : Settings
        That it would be analysed with.

    Returns
    -------
    SlideReport or None
        None where there is something to do.

    Raises
    ------
    SlideError, PixelSizeError, SettingsError, ModelError, UsageError
        The slide cannot be analysed.
    ResultsDifferError
        The folder holds scores made from other inputs.
    """
    with open_slide(request.slide, request.mpp) as slide:
        plan = make_plan(slide, settings)
    result = _finished(request, plan)
    return None if result is None else SlideReport(request.folder, result, settings)


def _finished(request: Request, plan: Plan) -> dict[str, Any] | None:
    """The result of a slide that is up to date; scores made from other inputs are refused."""
    folder = SlideFolder(request.folder)
    result = folder.finished_with(plan.fingerprints)
    if result is None:
        require_inputs(folder, plan.inputs)
        return None
    return result if result.get("manifest", {}) == request.manifest else None


@dataclass(frozen=True)
class Prepared:
    """A checked slide whose folder is still unchanged; `tissue` is None where its results are up to date."""

    request: Request
    files: SourceFiles
    plan: Plan
    stats: WorkerStats
    tissue: Tissue | None = None


def _prepare(request: Request, settings: Settings, pool: WorkerPool, stats: WorkerStats) -> Prepared:
    """Open a slide, check all that can be checked, and find its tissue unless its results are up to date."""
    with stats.stage("open"):
        slide = open_slide(request.slide, request.mpp)
    with slide, working_on(request):
        with stats.stage("plan"):
            files = SourceFiles.of(slide.info.files)
            plan = make_plan(slide, settings)
            if not request.overwrite and _finished(request, plan) is not None:
                return Prepared(request, files, plan, stats)
        SlideFolder(request.folder).require_own()
        claimed_elsewhere = claimed_by(request.folder, _lease(settings))
        if claimed_elsewhere is not None:
            raise claimed_elsewhere
        from wsi_necrosis.tiling.tissue import find_tissue  # imports scipy, not needed for up-to-date results

        with stats.stage("model"):
            load_model(plan.model, plan.backend)  # refuses a damaged model here, not in the workers
            prepare(plan.spec.recipe, plan.grid.mpp.side, plan.engine)
        require_writable(request.folder)
        pool.require_scheduler()
        with stats.stage("tissue"):
            overview = read_overview(slide, settings.tissue.mpp_um)
            tissue = Tissue(overview, find_tissue(overview, settings.tissue))
    return Prepared(request, files, plan, stats, tissue)


def _complete(prepared: Prepared, settings: Settings, watcher: Watcher, pool: WorkerPool) -> SlideReport:
    """Score, measure and export in a folder that only this process works on, and publish it."""
    request, plan, stats, tissue = prepared.request, prepared.plan, prepared.stats, prepared.tissue
    if tissue is None:
        log.info("results of %s are up to date", request.slide)
        return SlideReport(request.folder, SlideFolder(request.folder).result(), settings)
    # imports zarr, pyarrow and shapely, which results that are up to date do not need
    from wsi_necrosis.export.export_slide import export_slide

    with working_on(request), claimed(request.folder, _lease(settings)) as claim:
        done = None if request.overwrite else _finished(request, plan)
        if done is not None:  # by another process meanwhile
            return SlideReport(request.folder, done, settings)
        px = cell_pixels(plan.grid, tissue.mask)
        work = begin(claim, plan.inputs, overwrite=request.overwrite)
        store = _open_store(work, plan, tissue, px)
        watcher.folder_ready(work.path)
        _log_plan(request, plan, tissue)
        with stats.stage("score"):
            job = make_job(plan, work.path, tissue.overview, tissue.mask)
            scoring = score_slide(pool, job, store, px, watcher)
        with stats.stage("measure"):
            scores = store.read_whole(px)
            score = measure(scores, plan.quantify, plan.spec.quantity)
        result = result_of(request, plan, tissue, scores, score)
        with stats.stage("export"):
            failed = export_slide(work.path, result, tissue, scores, settings)
        result["warnings"] += [asdict(each) for each in failed]
        write_json(work.path / PERF, perf_of(stats.seconds, scoring), durable=False)
        prepared.files.require_same(plan.inputs["slide"]["fingerprint"])
        write_json(work.path / RESULT, result, durable=False)
        publish(claim, overwrite=request.overwrite)
    codes = [each["code"] for each in result["warnings"]]
    log.info("%s: percent viable %s, %s", request.name, result["percent_viable"], codes)
    return SlideReport(request.folder, result, settings)


def _one_ahead(
    ahead: ThreadPoolExecutor, requests: Iterable[Request], settings: Settings, pool: WorkerPool
) -> Iterator[tuple[Request, WorkerStats, Future[Prepared]]]:
    """Requests, their times and their preparation; each is yielded once preparation of the next one has begun."""
    current: tuple[Request, WorkerStats, Future[Prepared]] | None = None
    for request in requests:
        stats = WorkerStats()
        upcoming = request, stats, ahead.submit(_prepare, request, settings, pool, stats)
        if current is not None:
            yield current
        current = upcoming
    if current is not None:
        yield current


def _open_store(work: SlideFolder, plan: Plan, tissue: Tissue, px: NDArray[np.uint32]) -> ScoreStore:
    """The store to fill: the one that is there, or a new one."""
    # imports zarr, as in `_complete`
    from wsi_necrosis.scores.store import ScoreStore
    from wsi_necrosis.scores.tissue_store import write_tissue

    if work.has_scores:
        store = ScoreStore(work.path)
    else:
        facts = {"inputs": plan.inputs, "features": plan.spec.recipe.names}
        store = ScoreStore.create(work.path, plan.grid, px, tissue.mask.px_mm2, facts)
    write_tissue(work.path, tissue.overview, tissue.mask)
    return store


def _lease(settings: Settings) -> Lease:
    return Lease(settings.claims.heartbeat_s, settings.claims.silence_s)


def _log_plan(request: Request, plan: Plan, tissue: Tissue) -> None:
    info, mask = plan.info, tissue.mask
    log.info(
        "slide %s, %s, %s um per pixel (%s)", request.slide, info.vendor, info.known_mpp, info.mpp_source
    )
    log.info("grid of %d x %d cells, working mpp %s", *plan.grid.shape, plan.grid.mpp)
    log.info("mask in mm2: %s", {kind: round(area, 3) for kind, area in mask.area_mm2().items()})
    log.info("inputs of the scores: %s", json.dumps(plan.inputs))
    log.info("versions: %s", json.dumps(versions()))
