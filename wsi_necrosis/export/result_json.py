"""What is written of a finished slide: the content of `result.json` and of `perf.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.inference.scorer import Stopwatch
from wsi_necrosis.memory import peak_memory_mb, this_process
from wsi_necrosis.provenance import RESULT_VERSION, versions
from wsi_necrosis.quantify.percentage import NecrosisScore
from wsi_necrosis.scores.store import Scores, State
from wsi_necrosis.slides.slide import Overview
from wsi_necrosis.tiling.tissue import TissueMask


@dataclass(frozen=True)
class Findings:
    """All that results and pictures are made from."""

    overview: Overview
    mask: TissueMask
    scores: Scores
    score: NecrosisScore


@dataclass(frozen=True)
class Work:
    """What scoring a slide took.

    Attributes
    ----------
    tiles, all_tiles : int
        Tiles of this run, and of the slide; an interrupted run had done the others.
    watch : Stopwatch
        What the workers counted, summed over workers.
    workers : int
        Blocks at once.
    memory_mb : mapping of str to int
        Largest memory of each process that scored, in MiB.
    """

    tiles: int
    all_tiles: int
    watch: Stopwatch
    workers: int
    memory_mb: Mapping[str, int] = field(default_factory=dict)


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


def perf_of(seconds: Mapping[str, float], work: Work) -> dict[str, Any]:
    """The content of `perf.json`: where the time went.

    Parameters
    ----------
    seconds : mapping
        Wall-clock seconds by stage of the slide; "score" is one of them.
    work : Work
        What scoring took. The workers' seconds are sums over workers, and "waiting" is what is left of the
        scoring's wall-clock time: start of the cluster, loading the model, and idling. "peak_memory_mb" is the sum
        over this process and those that scored, each since it began.
    """
    working, needed = work.watch.seconds, work.watch.needed_l0
    waiting = max(0.0, work.workers * seconds["score"] - sum(working.values()))
    return {
        "seconds": {name: round(took, 3) for name, took in seconds.items()},
        "worker_seconds": {name: round(took, 3) for name, took in {**working, "waiting": waiting}.items()},
        "tiles": work.tiles,
        "tiles_kept": work.all_tiles - work.tiles,
        "tiles_per_second": _rate(work.tiles, seconds["score"]),
        "tiles_per_worker_second": {name: _rate(work.tiles, took) for name, took in working.items()},
        "decoded_l0_px": round(work.watch.decoded_l0),
        "needed_l0_px": round(needed),
        "decoded_over_needed": round(work.watch.decoded_l0 / needed, 3) if needed else None,
        "workers": work.workers,
        "peak_memory_mb": sum({**work.memory_mb, this_process(): peak_memory_mb()}.values()),
    }


def _rate(tiles: int, seconds: float) -> float | None:
    return round(tiles / seconds, 2) if tiles and seconds else None
