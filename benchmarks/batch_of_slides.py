"""A batch of many small slides: time a slide against its scoring and export, memory over the batch, and single runs.

    python benchmarks/batch_of_slides.py --slides 200 --cells 4 --model fast

The slides are montages of labelled tiles with the seeds 0, 1, ..., by the data folder's `tools/montage.py`; they are
kept in `build/benchmarks`. `batch` runs once, in a process of its own, and prints a line for each slide that is done.
Memory is that of all its processes, shared pages counted once. Prints rows for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import runpy
import shutil
import statistics
import subprocess
import sys
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from children import MemoryWatch
from slides import SCRATCH, data_folder, stamp

EARLY = 10  # slides after which memory is compared with that at the end
COMMAND = [sys.executable, "-m", "wsi_necrosis.pipelines.cli"]


@dataclass(frozen=True)
class Batch:
    """A batch: its wall time, mean seconds of its slides by stage, and peak memory after `EARLY` slides and in all."""

    slides: int
    tiles: int
    wall_s: float
    stages: dict[str, float]
    early_mb: dict[str, int]
    late_mb: dict[str, int]

    @property
    def slide_s(self) -> float:
        return self.wall_s / self.slides

    @property
    def over_scoring_and_export(self) -> float:
        return self.slide_s / (self.stages["score"] + self.stages["export"])


def montages(folder: Path, slides: int, cells: int) -> list[Path]:
    """Montages of the seeds from 0 on; only those that are missing are made."""
    data = data_folder()
    make = runpy.run_path(str(data.parent / "tools" / "montage.py"))["main"]
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:03d}.svs" for seed in range(slides)]
    for seed, path in enumerate(paths):
        if not path.exists():
            new = path.with_name(f".{path.name}")
            options = ["--cells", str(cells), "--seed", str(seed), "--out", str(new)]
            named = ["montage.py", "--tiles", str(data / "tcia_os"), *options]
            with patch.object(sys, "argv", named), redirect_stdout(StringIO()):
                make()
            new.rename(path)
    return paths


def run_batch(slides: list[Path], out: Path, options: list[str]) -> Batch:
    """Run `batch` and read memory at its tenth line and at its last."""
    began = time.perf_counter()
    command = [*COMMAND, "batch", *map(str, slides), "-o", str(out), "--json", "--quiet", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watch = MemoryWatch([process.pid])
        watch.start()
        peaks = [watch.peaks() for _ in process.stdout or ()]
    wall, late = time.perf_counter() - began, watch.stop()
    if process.returncode or len(peaks) != len(slides):
        raise SystemExit(f"{len(peaks)} of {len(slides)} slides, exit code {process.returncode}")
    perfs = [json.loads(path.read_text()) for path in sorted((out / "slides").glob("*/perf.json"))]
    stages = {
        name: round(statistics.mean(perf["seconds"][name] for perf in perfs), 3)
        for name in perfs[0]["seconds"]
    }
    tiles = round(statistics.mean(perf["tiles"] for perf in perfs))
    return Batch(len(slides), tiles, round(wall, 1), stages, peaks[min(EARLY, len(slides)) - 1], late)


def run_alone(slide: Path, out: Path, options: list[str]) -> float:
    """Seconds of `run` in a process of its own."""
    began = time.perf_counter()
    subprocess.run([*COMMAND, "run", str(slide), "-o", str(out), "--quiet", *options], check=True)
    return time.perf_counter() - began


def row(found: Batch, alone: list[float], model: str) -> str:
    def grown(name: str) -> str:
        early, late = found.early_mb[name], found.late_mb[name]
        return f"{early} | {late} | {late / early:.2f}" if early else "- | - | -"

    single = statistics.median(alone)
    cells = (
        f"`{model}`", found.slides, found.tiles, f"{found.slide_s:.2f}", f"{found.stages['score']:.2f}",
        f"{found.stages['export']:.2f}", f"{found.over_scoring_and_export:.2f}", grown("client"), grown("workers"),
        f"{single:.1f}", f"{single / found.slide_s:.1f}",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slides", type=int, default=200)
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--model", default="fast")
    parser.add_argument("--alone", type=int, default=5, help="single runs")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V")
    parser.add_argument("--make-only", action="store_true")
    arguments = parser.parse_args()
    slides = montages(SCRATCH / f"montages-{arguments.cells}", arguments.slides, arguments.cells)
    if arguments.make_only:
        return
    out = SCRATCH / "batch-of-slides"
    shutil.rmtree(out, ignore_errors=True)
    options = ["--model", arguments.model]
    options += [word for override in arguments.set for word in ("--set", override)]
    found = run_batch(slides, out / "batch", options)
    alone = [run_alone(slide, out / "alone", options) for slide in slides[: arguments.alone]]
    print(json.dumps(asdict(found) | {"alone_s": [round(each, 2) for each in alone]}))
    print(stamp())
    print(row(found, alone, arguments.model))
    shutil.rmtree(out)


if __name__ == "__main__":
    main()
