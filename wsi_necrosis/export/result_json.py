"""What is written of a finished slide: the content of `result.json` and of `perf.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.provenance import RESULT_VERSION, versions
from wsi_necrosis.quantify.percentage import NecrosisScore
from wsi_necrosis.scores.store import CellState, Scores
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.tiling.tissue import TissueMask


@dataclass(frozen=True)
class Findings:
    """All that results and pictures are made from."""

    overview: Overview
    mask: TissueMask
    scores: Scores
    score: NecrosisScore


def result_of(slide: Path, slide_id: str, plan: Plan, findings: Findings) -> dict[str, Any]:
    """The content of `result.json`; it holds no times, so equal runs give equal files."""
    info, mpp = plan.info, plan.info.known_mpp
    scores = findings.scores
    warnings = [plan.spec.notice, *_doubts(plan, scores, findings.score)]
    return {
        "schema_version": RESULT_VERSION,
        "slide_id": slide_id,
        "path": str(slide),
        **findings.score.to_dict(),
        "n_tiles": int((scores.state == CellState.SCORED).sum()),
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
    if plan.spec.ood is None:
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
    unreadable = int((scores.state == CellState.UNREADABLE).sum())
    if unreadable:
        doubts.append(f"{unreadable} cells could not be read in full and are left out as unreadable")
    return doubts
