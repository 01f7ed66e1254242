"""`wsi-necrosis bench`: how fast a slide is analysed on this machine, and where the time goes; nothing is kept."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from wsi_necrosis.analysis import analyse
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.scores.slide_folder import PERF
from wsi_necrosis.settings.run import Settings

DAY_S = 24 * 60 * 60


@dataclass(frozen=True)
class Benchmark:
    """Cost of a run of one slide.

    Attributes
    ----------
    slide : str
        Its name.
    perf : mapping
        The run's `perf.json`.
    inputs : mapping
        Inputs of the scores; the slide's reader and the network's backend among them.
    wall_seconds : float
        From opening the slide to writing the last file; imports are not counted.
    cores_busy : float or None
        Processor seconds of this machine per second of the run; None where a cluster did the work.
    """

    slide: str
    perf: Mapping[str, Any]
    inputs: Mapping[str, Any]
    wall_seconds: float
    cores_busy: float | None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "slide": self.slide,
            "wall_seconds": round(self.wall_seconds, 3),
            "cores_busy": None if self.cores_busy is None else round(self.cores_busy, 2),
            **self.perf,
            "inputs": dict(self.inputs),
        }


def bench(slide: Path, settings: Settings, mpp: Mpp | None, watcher: Watcher) -> Benchmark:
    """Analyse a slide into a temporary folder.

    Raises
    ------
    WsiNecrosisError
        As `analysis.analyse`.
    """
    with TemporaryDirectory(prefix="wsi-necrosis-bench-") as scratch:
        start, before = time.perf_counter(), _processor_seconds()
        report = analyse(slide, Path(scratch) / "slide", settings, watcher, mpp=mpp)
        wall, spent = time.perf_counter() - start, _processor_seconds() - before
        perf = json.loads((report.folder / PERF).read_text(encoding="utf-8"))
    here = not settings.cluster.scheduler
    return Benchmark(
        slide.name, perf, report.result["provenance"]["inputs"], wall, spent / wall if here else None
    )


def describe(found: Benchmark) -> str:
    """The benchmark in a few lines."""
    perf, backend = found.perf, found.inputs["backend"]
    stages = ", ".join(f"{name} {took:.1f}" for name, took in perf["seconds"].items() if took >= 0.05)
    working = sum(perf["worker_seconds"].values()) or 1.0
    shares = ", ".join(
        f"{name} {100 * took / working:.0f} %" for name, took in perf["worker_seconds"].items()
    )
    facts = {
        "tiles": f"{perf['tiles']}, {perf['tiles_per_second'] or 0:.1f} a second while scoring",
        "whole run": f"{found.wall_seconds:.1f} s, {DAY_S / found.wall_seconds:,.0f} such slides a day",
        "seconds": stages,
        "workers": f"{perf['workers']}, whose time went to {shares}",
        "cores busy": "on a cluster" if found.cores_busy is None else f"{found.cores_busy:.2f}",
        "decoded": f"{perf['decoded_over_needed'] or 0:.2f} times the pixels that tiles need",
        "memory": f"{perf['peak_memory_mb']} MB at most",
        "chosen": f"reader {found.inputs['slide']['reader']}; "
        + ", ".join(f"{key} {value}" for key, value in backend.items()),
    }
    return "\n".join([found.slide, *(f"  {name:<11} {value}" for name, value in facts.items())])


def _processor_seconds() -> float:
    """Processor seconds of this process and of child processes that have ended."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system
