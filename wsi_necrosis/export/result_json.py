"""The content of `result.json`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.model.quantity import quantity_facts
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.names import printable
from wsi_necrosis.provenance import RESULT_VERSION, versions
from wsi_necrosis.quantify.definition import definition
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.quantify.percentage import NecrosisScore
from wsi_necrosis.quantify.quality import check_slide, checks_facts, density_of, quality_warnings
from wsi_necrosis.quantify.sentences import share_text
from wsi_necrosis.request import Request
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import ExportSettings
from wsi_necrosis.slides.info import CONTRADICTED, SlideInfo
from wsi_necrosis.tiling.mask import Tissue


def result_of(
    request: Request, plan: Plan, export: ExportSettings, tissue: Tissue, scores: Scores, score: NecrosisScore
) -> dict[str, Any]:
    """The content of `result.json`; it holds no times, so equal runs give equal files.

    Parameters
    ----------
    request : Request
        The slide, its name in tables, and what a manifest says of it.
    plan : Plan
        Everything that determined its scores.
    export : ExportSettings
        Those of the files that come with the result.
    tissue : Tissue
        Its overview and tissue mask.
    scores : Scores
        Scores of each cell.
    score : NecrosisScore
        Percent viable and areas.
    """
    info = plan.info if request.with_path else plan.info.nameless()
    mpp, plane = info.known_mpp, plan.grid.plane
    from wsi_necrosis.tiling.glass import bare_glass  # imports scipy, which reading results does not need

    glass = bare_glass(tissue.overview.rgb, tissue.overview.unknown)
    density = density_of(tissue, plan.spec.quality)
    checks = check_slide(scores, glass, density, plan.spec.quality, plan.quantify)
    warnings = [
        ResultWarning("model_notice", plan.spec.notice),
        *_of_slide(plan.spec, info, scores, score),
        *quality_warnings(checks),
        *score.warnings,
    ]
    return {
        "schema_version": RESULT_VERSION,
        "slide_id": request.name,
        "path": printable(request.slide.absolute()) if request.with_path else "",
        "manifest": dict(request.manifest),
        "definition": definition(
            score.estimator, None if score.bed is None else score.bed.source, plan.regions.facts
        ),
        **score.to_dict(),
        "n_tiles": int((scores.state == CellState.SCORED).sum()),
        "mask_mm2": tissue.mask.area_mm2(),
        "quality": checks_facts(checks),
        "warnings": [asdict(each) for each in warnings],
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
                "scene": info.scene,
                "scenes": list(info.scenes),
                "icc_profile": info.icc_profile,
            },
            "grid": {
                "working_mpp_x": plan.grid.mpp.x,
                "working_mpp_y": plan.grid.mpp.y,
                "tile_px": plan.grid.tile_px,
                "stride_px": plan.grid.stride_px,
                "plane_l0": [plane.x_l0, plane.y_l0, plane.width_l0, plane.height_l0],
            },
            "model": {
                "name": plan.spec.name,
                "sha256": plan.spec.weights_sha256,
                "notice": plan.spec.notice,
                "quantity": quantity_facts(plan.spec.quantity),
            },
            "settings": {"quantify": plan.quantify.facts(), "export": export.facts()},
            "versions": versions(),
        },
    }


def _of_slide(
    spec: ModelSpec, info: SlideInfo, scores: Scores, score: NecrosisScore
) -> Iterator[ResultWarning]:
    """Limitations of the result that come of the slide, and of what was scored on it."""
    yield from (ResultWarning(each.code, each.text) for each in info.warnings)
    if spec.ood is None:
        said = "this model does not recognise tissue unlike its training tiles"
        yield ResultWarning("ood_not_recognised", said)
    if CONTRADICTED in info.mpp_source:
        yield ResultWarning("pixel_size_source", f"pixel size {info.known_mpp} um from {info.mpp_source}")
    if score.ood_mm2 > 0:
        share = share_text(100 * score.ood_mm2 / score.ledger.tissue_mm2)
        said = f"{share} of the tissue ({score.ood_mm2:.2f} mm2) is unlike the training tiles and abstains"
        yield ResultWarning("ood_tissue", said)
    unreadable = int((scores.state == CellState.UNREADABLE).sum())
    lost_mm2 = score.ledger.area_mm2()["unreadable"]
    if unreadable or lost_mm2 > 0:
        said = f"{lost_mm2:.2f} mm2 and {unreadable} cells with tissue could not be read in full and are left out"
        yield ResultWarning("unreadable_cells", f"{said} as unreadable")
