"""Tiles per second of the shipped models, in turns on one slide; also of another checkout's model, to compare with.

    python benchmarks/model_speed.py --repeats 3
    python benchmarks/model_speed.py --other OTHER/.venv/bin/python

Each run is a process of its own, that the others do not overlap. The figure is `tiles_per_second` of `perf.json`, which
covers scoring; a first run of each, which compiles and converts, is not counted. Prints a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from slides import SCRATCH, kept_montage, stamp


def tiles_per_second(python: str, model: str, slide: Path, workers: int) -> float:
    with tempfile.TemporaryDirectory() as out:
        command = [python, "-m", "wsi_necrosis.pipelines.cli", "run", str(slide), "-o", out, "--model", model]
        subprocess.run([*command, "--workers", str(workers), "--quiet"], check=True, cwd=out)
        perf = json.loads((Path(out) / "slides" / slide.name / "perf.json").read_text())
    return float(perf["tiles_per_second"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--other", metavar="PYTHON", help="interpreter of a checkout to compare with")
    arguments = parser.parse_args()
    slide = kept_montage(SCRATCH, arguments.cells).path
    ways = {name: (sys.executable, name) for name in ("default", "fast")}
    if arguments.other:
        ways["other"] = (arguments.other, "default")
    found: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(1 + arguments.repeats):
        for name, (python, model) in ways.items():
            speed = tiles_per_second(python, model, slide, arguments.workers)
            if repeat:
                found[name].append(speed)
    report(found)


def report(found: dict[str, list[float]]) -> None:
    base = "other" if "other" in found else "default"
    print(stamp())
    print(f"| model | tiles/s, median | each | ratio to `{base}`, median of pairs |")
    print("|---|---:|---|---:|")
    for name, speeds in found.items():
        ratio = np.median(np.array(speeds) / np.array(found[base]))
        each = ", ".join(f"{speed:.1f}" for speed in speeds)
        print(f"| {name} | {np.median(speeds):.1f} | {each} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
