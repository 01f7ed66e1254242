"""One slide from file to report, on one page."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.checkpoint import ModelSpec, load_spec, portable_name
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.cluster import Job, check_scheduler, count_workers, run_blocks
from wsi_necrosis.errors import ResultsDifferError, SettingsError, StoreError
from wsi_necrosis.export.geojson import write_regions
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.export.tiles_table import write_tiles_table
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.grid import Term, TileGrid, cell_pixels, lay_grid
from wsi_necrosis.heatmap import stitch
from wsi_necrosis.inference import Stopwatch
from wsi_necrosis.memory import peak_memory_mb
from wsi_necrosis.model import choose_device, compute_dtype, load_model
from wsi_necrosis.normalise import Normaliser, fit_normaliser
from wsi_necrosis.provenance import (
    RESULT_VERSION,
    SCORE_VERSION,
    differences,
    digest,
    slide_fingerprint,
    versions,
)
from wsi_necrosis.quantify import NecrosisScore, measure
from wsi_necrosis.radiomics import Recipe, prepare
from wsi_necrosis.replacing import claimed, remove, require_writable, write_json
from wsi_necrosis.scores import Scores, ScoreStore, State
from wsi_necrosis.settings import Settings
from wsi_necrosis.slide import Overview, Slide, SlideInfo, open_slide, read_overview
from wsi_necrosis.stain import fit_stains
from wsi_necrosis.tissue import Kind, TissueMask, find_tissue, foreground

log = logging.getLogger(__name__)

COARSEST_MASK = 0.25  # of a cell's side; coarser ones cannot say how much tissue a cell holds
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
class Plan:
    """All that decides the scores of a slide, known before any is made."""

    info: SlideInfo
    spec: ModelSpec
    grid: TileGrid
    device: str
    inputs: Mapping[str, Any]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True)
class Findings:
    """All that results and pictures are made from."""

    overview: Overview
    mask: TissueMask
    scores: Scores
    score: NecrosisScore


@dataclass(frozen=True)
class SlideReport:
    """What a run found: the content of `result.json`, and the folder that holds it."""

    folder: Path
    result: Mapping[str, Any]


def make_plan(slide: Slide, settings: Settings) -> Plan:
    """Lay the grid and fix every input of the scores.

    Raises
    ------
    PixelSizeError, SettingsError, ModelError, UsageError
        Slide, model, settings and device do not fit together.
    """
    info, spec = slide.info, load_spec(settings.model.name)
    mpp = info.known_mpp
    grid = lay_grid(info, spec.mpp, spec.tile_px, settings.grid)
    device = choose_device(settings.model.device)
    if settings.tissue.mpp_um > COARSEST_MASK * grid.stride_px * grid.mpp.side:
        raise SettingsError(
            f"tissue.mpp_um {settings.tissue.mpp_um:g} is too coarse for cells of "
            f"{grid.stride_px * grid.mpp.side:.0f} um; give at most a quarter of a cell"
        )
    inputs: dict[str, Any] = {
        "score_version": SCORE_VERSION,
        "slide": {
            "fingerprint": slide_fingerprint(info.files),
            "reader": info.reader,
            "mpp_x": mpp.x,
            "mpp_y": mpp.y,
        },
        "model": {"name": spec.name, "fingerprint": spec.fingerprint},
        "tissue": settings.tissue.model_dump(),
        "grid": settings.grid.model_dump(),
        "radiomics": settings.radiomics.model_dump(),
        "backend": {
            "device": device,
            "dtype": compute_dtype(device),
            "batch_tiles": settings.model.batch_tiles,
        },
    }
    scoring = digest(inputs)
    fingerprints = {
        "scoring": scoring,
        "measuring": digest([scoring, settings.quantify.model_dump()]),
        "export": digest([scoring, settings.quantify.model_dump(), settings.export.model_dump()]),
    }
    return Plan(info, spec, grid, device, inputs, fingerprints)


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
    watch = Stopwatch()
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
            load_model(settings.model.name, plan.device)  # a damaged one stops here, not in the workers
            prepare(plan.spec.recipe, plan.grid.mpp.side, settings.radiomics.engine)
        require_writable(request.folder)
        check_scheduler(settings.cluster)
        with watch.stage("tissue"):
            overview = read_overview(slide, settings.tissue.mpp_um)
            mask = find_tissue(overview, settings.tissue)
    with claimed(request.folder):
        return _carry_out(request, plan, settings, Prepared(overview, mask, watch, watcher))


@dataclass(frozen=True)
class Prepared:
    """What is known of a slide before its folder is touched, and who keeps time and is told."""

    overview: Overview
    mask: TissueMask
    watch: Stopwatch
    watcher: Watcher


def _carry_out(request: Request, plan: Plan, settings: Settings, known: Prepared) -> SlideReport:
    """Score, measure and export, in a folder that is ours."""
    watch, mask = known.watch, known.mask
    px = cell_pixels(plan.grid, mask)
    store = _open_store(request, plan, px, mask.px_mm2)
    known.watcher.folder_ready(request.folder)
    _log_plan(request, plan, mask)
    with watch.stage("score"):
        normaliser = slide_normaliser(plan.spec, known.overview, mask)
        stains = slide_stains(plan.spec.recipe, known.overview, mask, normaliser)
        work = _score(request, plan, settings, Scoring(store, px, stains, normaliser, known.watcher))
    with watch.stage("measure"):
        scores = _whole(store, px)
        findings = Findings(known.overview, mask, scores, measure(scores, settings.quantify))
    result = _result(request, plan, findings)
    with watch.stage("export"):
        _export(request, plan, settings, findings)
    write_json(request.folder / "perf.json", _perf(watch, work, settings))
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
    """The store to fill, mask pixels of its cells, what was fitted to the slide's stains, who is told of progress."""

    store: ScoreStore
    px: NDArray[np.uint32]
    stains: NDArray[np.float64] | None
    normaliser: Normaliser | None
    watcher: Watcher


def slide_stains(
    recipe: Recipe, overview: Overview, mask: TissueMask, normaliser: Normaliser | None = None
) -> NDArray[np.float64] | None:
    """The slide's own stain vectors, fitted once on its tissue as tiles show it, if the recipe asks for them."""
    if recipe.stains == "fixed":
        return None
    tissue = overview.rgb[mask.kind == Kind.TISSUE]
    stains = fit_stains(tissue if normaliser is None else normaliser.apply(tissue))
    log.info("stain vectors of the slide: %s", np.round(stains, 4).tolist())
    return stains


def slide_normaliser(spec: ModelSpec, overview: Overview, mask: TissueMask) -> Normaliser | None:
    """What brings the slide's stains to the model's standard, fitted once on its tissue, if the model asks for it."""
    if spec.normalise == "none":
        return None
    tissue = overview.rgb[mask.kind == Kind.TISSUE]
    # Without the glass of small holes, as in training: it would shift means and percentiles.
    normaliser = fit_normaliser(spec.normalise, tissue[foreground(tissue)])
    log.info("normaliser of the slide's stains: %s", json.dumps(normaliser.to_dict()))
    return normaliser


@dataclass(frozen=True)
class Work:
    """What scoring a slide took: tiles of this run, all tiles, seconds of the workers by stage."""

    tiles: int
    all_tiles: int
    seconds: Mapping[str, float]


def _score(request: Request, plan: Plan, settings: Settings, scoring: Scoring) -> Work:
    blocks = [(block, scoring.px[block.cells]) for block in plan.grid.blocks()]
    blocks = [(block, px) for block, px in blocks if px[..., Term.TISSUE].any()]
    waiting = [(block, px) for block, px in blocks if not scoring.store.is_done(block)]
    total, left = (sum(int((px[..., Term.TISSUE] > 0).sum()) for _, px in some) for some in (blocks, waiting))
    scoring.watcher.scoring(total, total - left)
    job = Job(
        slide=request.slide.resolve(),
        mpp=plan.info.known_mpp,
        fingerprint=plan.inputs["slide"]["fingerprint"],
        model=portable_name(settings.model.name),
        model_fingerprint=plan.spec.fingerprint,
        device=plan.device,
        grid=plan.grid,
        batch_tiles=settings.model.batch_tiles,
        folder=request.folder.resolve(),
        engine=settings.radiomics.engine,
        stains=scoring.stains,
        normaliser=scoring.normaliser,
    )
    seconds: dict[str, float] = {}
    for done in run_blocks(job, waiting, settings.cluster) if waiting else ():
        scoring.watcher.scored(done.tiles)
        for stage, took in done.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + took
    return Work(left, total, seconds)


def _whole(store: ScoreStore, px: NDArray[np.uint32]) -> Scores:
    """The scores, once it is sure that no chunk of the ledger was lost on disk."""
    scores = store.read()
    if not np.array_equal(scores.px.sum(axis=-1), px.sum(axis=-1)):
        raise StoreError(f"{store.folder} has lost part of its scores; run with --overwrite")
    return scores


def _result(request: Request, plan: Plan, findings: Findings) -> dict[str, Any]:
    """The content of `result.json`; it holds no times, so equal runs give equal files."""
    info, mpp = plan.info, plan.info.known_mpp
    scores = findings.scores
    warnings = [plan.spec.notice, *_doubts(plan, scores, findings.score)]
    return {
        "schema_version": RESULT_VERSION,
        "slide_id": request.slide_id,
        "path": str(request.slide),
        **findings.score.to_dict(),
        "n_tiles": int((scores.state == State.SCORED).sum()),
        "mask_mm2": findings.mask.area_mm2(),
        "warnings": warnings,
        "provenance": {
            "fingerprints": dict(plan.fingerprints),
            "inputs": dict(plan.inputs),
            "slide": {
                "vendor": info.vendor,
                "size_l0": list(info.size_l0),
                "mpp_x": mpp.x,
                "mpp_y": mpp.y,
                "mpp_source": info.mpp_source,
                "objective": info.objective,
            },
            "grid": {
                "working_mpp_x": plan.grid.mpp.x,
                "working_mpp_y": plan.grid.mpp.y,
                "tile_px": plan.grid.tile_px,
                "stride_px": plan.grid.stride_px,
            },
            "model": {"name": plan.spec.name, "sha256": plan.spec.weights_sha256, "notice": plan.spec.notice},
            "versions": versions(),
        },
    }


def _doubts(plan: Plan, scores: Scores, score: NecrosisScore) -> list[str]:
    """What a reader of the number must know about this slide."""
    info, doubts = plan.info, []
    if plan.spec.novelty is None:
        doubts.append("this model does not recognise tissue unlike its training tiles")
    if info.mpp_source not in {"metadata", "TIFF resolution", "--mpp"}:
        doubts.append(f"pixel size {info.known_mpp} um from {info.mpp_source}")
    if score.ood_mm2 > 0:
        area = score.ledger.area_mm2()
        percent = 100 * score.ood_mm2 / sum(area[name] for name in ("abstained", *CLASSES))
        share = f"{percent:.0f} %" if percent >= 1 else "less than 1 %"
        doubts.append(
            f"{share} of the tissue ({score.ood_mm2:.2f} mm2) is unlike the training tiles and abstains"
        )
    unreadable = int((scores.state == State.UNREADABLE).sum())
    if unreadable:
        doubts.append(f"{unreadable} cells could not be read in full and are left out as unreadable")
    return doubts


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


def _perf(watch: Stopwatch, work: Work, settings: Settings) -> dict[str, Any]:
    """The content of `perf.json`: seconds by stage; those of workers are sums over workers."""
    wall = watch.seconds["score"]
    return {
        "seconds": {name: round(took, 3) for name, took in watch.seconds.items()},
        "worker_seconds": {name: round(took, 3) for name, took in work.seconds.items()},
        "tiles": work.tiles,
        "tiles_kept": work.all_tiles - work.tiles,
        "tiles_per_second": round(work.tiles / wall, 2) if work.tiles else None,
        "workers": count_workers(settings.cluster),
        "peak_memory_mb": peak_memory_mb(),
    }
