"""Percent viable of montages from 0 to 100 %, with the line of found against true.

    python benchmarks/both_ends.py --model default
    python benchmarks/both_ends.py --model /tmp/without-case-4 --case Case-4

Montages are made by the data folder's `tools/montage.py` of the tiles of all cases, or of one: without `--case` they
are those that the shipped models were trained on. For the second, train with that case left out first:

    wsi-necrosis train -o /tmp/without-case-4 --set data.tiles=TABLE

where TABLE is a folder with `labels.csv` of the other cases; `--write-table FOLDER --case CASE` writes one. Prints a
table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from slides import data_folder, make_montage, stamp

SHARES = (0, 10, 30, 50, 70, 90, 100)


def table_of(folder: Path, case: str, *, left_out: bool) -> Path:
    """A folder with the tiles of one case, or of all others, as links, and their `labels.csv`."""
    data = data_folder() / "tcia_os"
    with (data / "labels.csv").open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if (row["case"] == case) != left_out]
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        link = folder / row["file"]
        if not link.exists():
            link.symlink_to((data / row["file"]).resolve())
    with (folder / "labels.csv").open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def found(slide: Path, out: Path, model: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", "run", str(slide), "-o", str(out)]
    subprocess.run([*command, "--model", model, "--quiet"], check=True)
    result: dict[str, Any] = json.loads((out / "slides" / slide.name / "result.json").read_text())
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--case")
    parser.add_argument("--cells", type=int, default=10)
    parser.add_argument(
        "--shares", type=int, nargs="+", default=SHARES, help="percent viable of each montage"
    )
    parser.add_argument("--non-tumour", type=int, default=25, help="percent of all cells")
    parser.add_argument("--write-table", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.write_table:
        table_of(arguments.write_table, arguments.case, left_out=True)
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        tiles = table_of(Path(scratch) / "tiles", arguments.case, left_out=False) if arguments.case else None
        for share in arguments.shares:
            slide = Path(scratch) / f"{share}.svs"
            more = ["--viable", str(share), "--non-tumour", str(arguments.non_tumour)]
            truth = make_montage(slide, arguments.cells, tiles=tiles, more=more)["percent_viable"]
            result = found(slide, Path(scratch) / "out", arguments.model)
            slide.unlink()
            rows.append((truth, result))
    report(rows)


def report(rows: list[tuple[float, dict[str, Any]]]) -> None:
    print(stamp())
    print("| true % | percent viable | soft | hard | top probability | entropy | warnings |")
    print("|---:|---:|---:|---:|---:|---:|---|")
    for truth, result in rows:
        names = ("percent_viable", "percent_viable_soft", "percent_viable_by_class")
        numbers = " | ".join("-" if result[name] is None else f"{result[name]:.1f}" for name in names)
        codes = ", ".join(each["code"] for each in result["warnings"] if each["code"] != "model_notice")
        decision = result["decision"]
        print(
            f"| {truth:.1f} | {numbers} | {decision['top_prob']:.3f} | {decision['entropy']:.3f} | {codes} |"
        )
    true = [truth for truth, _ in rows]
    for name in ("percent_viable", "percent_viable_soft", "percent_viable_by_class"):
        slope, intercept = np.polyfit(true, [result[name] for _, result in rows], 1)
        print(f"{name}: slope {slope:.3f}, intercept {intercept:.1f}")


if __name__ == "__main__":
    main()
