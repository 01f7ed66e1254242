"""The three stages of a slide's analysis: prepare it, score it under a claim, then measure, export and publish."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wsi_necrosis.claims import Claim, claimed, claimed_by
from wsi_necrosis.export.result_json import result_of
from wsi_necrosis.files import require_writable, write_json
from wsi_necrosis.inference.job import make_job
from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.inference.pool import WorkerPool, score_slide
from wsi_necrosis.inference.stats import ScoringStats, WorkerStats, perf_of
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.provenance import versions
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.radiomics.extraction import prepare as prepare_radiomics
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.request import Request, working_on
from wsi_necrosis.scores.slide_folder import PERF, RESULT, SlideFolder
from wsi_necrosis.scores.work_folder import begin, lease_of, publish, require_inputs, tidy
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.slides.overview import read_overview, read_picture
from wsi_necrosis.slides.slide import Slide, open_slide
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.tiling.grid import cell_pixels
from wsi_necrosis.tiling.mask import Tissue

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from wsi_necrosis.scores.store import ScoreStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A checked slide whose folder is still unchanged; `tissue` is None where its results are up to date."""

    request: Request
    files: SourceFiles
    plan: Plan
    stats: WorkerStats
    tissue: Tissue | None = None


@dataclass(frozen=True)
class Scored:
    """A slide whose blocks are all done, in a folder that is claimed until `claim_held` is closed."""

    prepared: Prepared
    tissue: Tissue
    store: ScoreStore
    px: NDArray[np.uint32]
    cost: ScoringStats
    claim: Claim
    claim_held: ExitStack


def finished_result(request: Request, plan: Plan) -> dict[str, Any] | None:
    """The result of a slide that is up to date, else None.

    Raises
    ------
    ResultsDifferError
        The folder holds scores made from other inputs, which the request does not allow to replace.
    """
    folder = SlideFolder(request.folder)
    result = folder.finished_with(plan.fingerprints)
    if result is None and not request.overwrite:
        require_inputs(folder, plan.inputs)
    return result if result is not None and result.get("manifest", {}) == request.manifest else None


def plan_of(slide: Slide, request: Request, settings: Settings) -> Plan:
    """The plan of a request, with what a person outlined.

    Raises
    ------
    PixelSizeError, SettingsError, ModelError, UsageError
        Slide, model, settings, backend and outlines do not fit together.
    """
    if request.roi is None and request.tissue is None:
        return make_plan(slide, settings)
    from wsi_necrosis.dataset.regions import (
        read_regions,
    )  # imports shapely, which few runs need at this point

    return make_plan(slide, settings, read_regions(request.roi, request.tissue, slide.info))


def prepare(request: Request, settings: Settings, pool: WorkerPool, stats: WorkerStats) -> Prepared:
    """Open a slide, check all that can be checked, and find its tissue unless its results are up to date.

    Raises
    ------
    WsiNecrosisError
        The slide cannot be analysed, or another process works on it; nothing is written.
    """
    with stats.stage("open"):
        slide = open_slide(request.slide, request.mpp, scene=request.scene)
    with slide, working_on(request):
        with stats.stage("plan"):
            files = SourceFiles.of(slide.info.files)
            plan = plan_of(slide, request, settings)
            if finished_result(request, plan) is not None:
                return Prepared(request, files, plan, stats)
        SlideFolder(request.folder).require_own()
        claimed_elsewhere = claimed_by(request.folder, lease_of(settings.claims))
        if claimed_elsewhere is not None:
            raise claimed_elsewhere
        # imports scipy and shapely, not needed for up-to-date results
        from wsi_necrosis.tiling.regions import with_regions
        from wsi_necrosis.tiling.tissue import find_tissue

        if "annotation_store" in settings.export.formats:
            from wsi_necrosis.export.annotation_store import (
                require_tiatoolbox,
            )  # with shapely, not in all runs

            require_tiatoolbox()
        with stats.stage("model"):
            pool.require_model(plan)
            prepare_radiomics(plan.spec.recipe, plan.grid.mpp.side, plan.engine)
        require_writable(request.folder)
        pool.require_scheduler()
        with stats.stage("tissue"):
            overview = read_overview(slide, settings.tissue.mpp_um)
            mask = with_regions(find_tissue(overview, settings.tissue), plan.regions)
        with stats.stage("picture"):
            tissue = Tissue(overview, mask, read_picture(slide, overview, settings.export.overlay_px))
    return Prepared(request, files, plan, stats, tissue)


def score(prepared: Prepared, settings: Settings, watcher: Watcher, pool: WorkerPool) -> Scored | SlideReport:
    """Score a slide in a folder that only this process works on; its report where there is nothing to do.

    Raises
    ------
    WsiNecrosisError
        It could not be scored as a whole; finished blocks are kept.
    """
    request, plan, stats, tissue = prepared.request, prepared.plan, prepared.stats, prepared.tissue
    if tissue is None:
        tidy(request.folder, lease_of(settings.claims))
        log.info("results of %s are up to date", request.slide)
        return SlideReport(request.folder, SlideFolder(request.folder).result(), settings)
    with working_on(request), ExitStack() as on_failure:
        claim = on_failure.enter_context(claimed(request.folder, lease_of(settings.claims)))
        done = finished_result(request, plan)
        if done is not None:  # by another process meanwhile
            return SlideReport(request.folder, done, settings)
        px = cell_pixels(plan.grid, tissue.mask)
        work = begin(claim, plan.inputs, overwrite=request.overwrite)
        store = _open_store(work, plan, tissue, px)
        watcher.folder_ready(work.path)
        _log_plan(request, plan, tissue)
        with stats.stage("score"):
            job = make_job(plan, work.path, tissue.overview, tissue.mask)
            cost = score_slide(pool, job, store, px, watcher)
        return Scored(prepared, tissue, store, px, cost, claim, on_failure.pop_all())


def finish(scored: Scored | SlideReport, settings: Settings) -> SlideReport:
    """Measure a scored slide, export and publish it, and give up the claim.

    Raises
    ------
    WsiNecrosisError
        It could not be published; its scores are kept.
    """
    if isinstance(scored, SlideReport):
        return scored
    # imports zarr, pyarrow and shapely, which results that are up to date do not need
    from wsi_necrosis.export.export_slide import Material
    from wsi_necrosis.report.slide_files import write_files

    prepared, tissue, folder = scored.prepared, scored.tissue, scored.claim.folder
    request, plan, stats = prepared.request, prepared.plan, prepared.stats
    with working_on(request), scored.claim_held:
        with stats.stage("measure"):
            scores = scored.store.read_whole(scored.px)
            found = measure(scores, plan.quantify, plan.spec.quantity)
        result = result_of(request, plan, settings.export, tissue, scores, found)
        date = datetime.now(UTC).date().isoformat()
        with stats.stage("export"):
            material = Material(result, lambda: tissue, tissue.mask, scores, scored.store, settings, date)
            failed = write_files(folder, material, settings.export.formats, request.slide)
        result["warnings"] += [asdict(each) for each in failed]
        with stats.stage("publish"):
            write_json(folder / PERF, perf_of(stats.seconds, scored.cost, date), durable=False)
            prepared.files.require_same(plan.inputs["slide"]["fingerprint"])
            write_json(folder / RESULT, result, durable=False)
            publish(scored.claim, overwrite=request.overwrite)
        codes = [each["code"] for each in result["warnings"]]
        log.info("%s: percent viable %s, %s", request.name, result["percent_viable"], codes)
    return SlideReport(request.folder, result, settings)


def _open_store(work: SlideFolder, plan: Plan, tissue: Tissue, px: NDArray[np.uint32]) -> ScoreStore:
    """The store to fill: the one that is there, or a new one."""
    # imports zarr, as in `finish`
    from wsi_necrosis.scores.store import ScoreStore
    from wsi_necrosis.scores.tissue_store import write_tissue

    if work.has_scores:
        store = ScoreStore(work.path)
    else:
        facts = {"inputs": plan.inputs, "features": plan.spec.recipe.names}
        store = ScoreStore.create(work.path, plan.grid, px, tissue.mask.px_mm2, facts)
    write_tissue(work.path, tissue)
    return store


def _log_plan(request: Request, plan: Plan, tissue: Tissue) -> None:
    info, mask = plan.info, tissue.mask
    log.info(
        "slide %s, %s, %s um per pixel (%s)", request.slide, info.vendor, info.known_mpp, info.mpp_source
    )
    log.info("grid of %d x %d cells, working mpp %s", *plan.grid.shape, plan.grid.mpp)
    log.info("mask in mm2: %s", {kind: round(area, 3) for kind, area in mask.area_mm2().items()})
    log.info("inputs of the scores: %s", json.dumps(plan.inputs))
    log.info("versions: %s", json.dumps(versions()))
