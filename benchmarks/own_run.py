"""One run of this project in a fresh process, with the processor time of scoring; prints JSON.

python benchmarks/own_run.py SLIDE OUT [--set A.B=V ...] [--others PID ...]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from children import cpu_seconds
from dask.system import CPU_COUNT

from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.run import run
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import load_settings


@dataclass
class Marks(QuietWatcher):
    """Times at which scoring began and each block was done, in wall and in processor seconds."""

    pids: list[int]
    begin: tuple[float, float] = (0.0, 0.0)
    blocks: list[tuple[float, float]] = field(default_factory=list)
    tiles: list[int] = field(default_factory=list)

    def scoring(self, tiles: int, done: int) -> None:
        self.begin = self._now()

    def scored(self, tiles: int) -> None:
        self.blocks.append(self._now())
        self.tiles.append(tiles)

    def _now(self) -> tuple[float, float]:
        return time.perf_counter(), cpu_seconds(self.pids)

    def busy(self, start: tuple[float, float]) -> float:
        """Share of the machine's cores that was busy from a time to the last block."""
        wall, cpu = (end - begin for end, begin in zip(self.blocks[-1], start, strict=True))
        return cpu / (CPU_COUNT * wall)

    def start_s(self) -> float:
        """Seconds until a worker begins its first block (Dask's start, loading the model), estimated from its end."""
        first, last = self.blocks[0][0], self.blocks[-1][0]
        per_tile = (last - first) / max(1, sum(self.tiles[1:]))
        return max(0.0, first - self.begin[0] - self.tiles[0] * per_tile)

    def facts(self) -> dict[str, Any]:
        """Seconds from the start of scoring to the first block and to the last, and shares of busy cores."""
        first, last = self.blocks[0], self.blocks[-1]
        later = len(self.blocks) - 1
        return {
            "blocks": len(self.blocks),
            "first_block_s": round(first[0] - self.begin[0], 3),
            "last_block_s": round(last[0] - self.begin[0], 3),
            "start_s": round(self.start_s(), 3),
            "scoring_cpu_s": round(last[1] - self.begin[1], 3),
            "busy": round(self.busy(self.begin), 3),
            "busy_between_blocks": round(self.busy(first), 3) if later and last[0] > first[0] else None,
        }


def scores_of(folder: Path) -> dict[str, Any]:
    """Write cells and probabilities of a slide's results; give their file, and a hash of the probabilities."""
    scores = ScoreStore(folder).read()
    row, col = np.nonzero(scores.state == CellState.SCORED)
    np.savez(folder / "plan.npz", row=row, col=col, prob=scores.prob[row, col])
    return {
        "plan": str(folder / "plan.npz"),
        "bits": hashlib.sha256(scores.prob.tobytes()).hexdigest()[:8],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V")
    parser.add_argument("--others", type=int, nargs="*", default=[], help="processes that work for this one")
    parser.add_argument("--started", type=float, default=0.0)
    arguments = parser.parse_args()
    imported = time.time() - arguments.started
    marks = Marks([os.getpid(), *arguments.others])
    settings = load_settings(overrides=arguments.set)
    earlier = arguments.out / "slides" / arguments.slide.name
    shutil.rmtree(earlier, ignore_errors=True)
    report = run(arguments.slide, arguments.out, settings, marks)
    perf = json.loads((report.folder / "perf.json").read_text())
    size = sum(file.stat().st_size for file in report.folder.rglob("*") if file.is_file())
    facts = {
        "import_s": round(imported, 2),
        "model_s": perf["seconds"]["model"],
        "score_s": perf["seconds"]["score"],
        "tiles": perf["tiles"],
        "peak_mb": perf["peak_memory_mb"],
        "cpu_s": round(cpu_seconds([os.getpid()]), 2),
        "written_bytes": size,
        "perf": perf,
    }
    print(json.dumps(facts | marks.facts() | scores_of(report.folder)))


if __name__ == "__main__":
    main()
