"""Run a montage of labelled tiles end to end, and compare percent viable with that of the tiles' labels.

    python benchmarks/montage.py --cells 40 --workers 2
    python benchmarks/montage.py --cells 12 --workers 2

The montage is made by the data folder's `tools/montage.py` (WSI_NECROSIS_DATA, else ../shared/data).
The tiles that it is made of are those that the shipped model was trained on: its percentage says
nothing about other slides. Prints a row for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from slides import make_montage, processor

from wsi_necrosis.quantify.sentences import estimators_text
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.mask import MaskClass
from wsi_necrosis.tiling.tissue import find_tissue


def lattice_percent(path: Path, truth: dict[str, Any]) -> float:
    """Percent viable of the lattice, each cell weighted with the tissue that a run finds in it."""
    settings = load_settings().tissue
    with open_slide(path) as slide:
        mask = find_tissue(read_overview(slide, settings.mpp_um), settings)
    tissue, side = mask.kind == MaskClass.TISSUE, truth["cell_px"]
    area = {"Viable": 0, "Non-Viable-Tumor": 0, "Non-Tumor": 0}
    for cell in truth["lattice"]:
        top, left = (round((cell[k] * side + truth["offset_px"]) / mask.px_l0[0]) for k in ("row", "col"))
        span = side // mask.px_l0[0]
        area[cell["label"]] += int(np.count_nonzero(tissue[top : top + span, left : left + span]))
    return 100 * area["Viable"] / (area["Viable"] + area["Non-Viable-Tumor"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--offset", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        slide, out = Path(scratch) / "montage.svs", Path(scratch) / "out"
        truth = make_montage(slide, arguments.cells, arguments.seed, arguments.offset)
        options = [word for override in arguments.set for word in ("--set", override)]
        command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", "run", str(slide), "-o", str(out)]
        subprocess.run([*command, "--workers", str(arguments.workers), "--quiet", *options], check=True)
        folder = out / "slides" / slide.name
        result = json.loads((folder / "result.json").read_text())
        perf = json.loads((folder / "perf.json").read_text())
        lattice = lattice_percent(slide, truth)
    report(arguments, result, perf, lattice)


def report(
    arguments: argparse.Namespace, result: dict[str, Any], perf: dict[str, Any], lattice: float
) -> None:
    print(f"{datetime.now(UTC):%Y-%m-%d}  {processor()}  python {' '.join(sys.argv)}")
    print(json.dumps(perf, indent=1))
    wall, busy = perf["seconds"], perf["worker_seconds"]
    stages = ", ".join(f"{name} {took:.1f}" for name, took in (wall | busy).items())
    print(f"| {arguments.cells} x {arguments.cells} | {perf['workers']} | {perf['tiles']} | "
          f"{perf['tiles_per_second']} | {stages} | {perf['peak_memory_mb']} |")  # fmt: skip
    found = result["percent_viable"]
    print(f"percent viable: lattice {lattice:.1f}, found {found:.1f} ({estimators_text(result)}), "
          f"error {found - lattice:+.1f} points, ON TRAINING TILES; interval {result['interval']}")  # fmt: skip


if __name__ == "__main__":
    main()
