"""Tissue that is no osteosarcoma, laid out as slides that are large enough to be measured: is each one doubted?

    python benchmarks/other_tissue.py --model default

Each H&E picture of `ood_inputs.csv` is laid out in turned copies, as a slide of more than 4 mm2, by the data folder's
`tools/montage.py`; slides are run as they are. Every other input by name sets the limits of `quantify.undecided_*` and
`quantify.not_evaluable_*`, the rest judges them. Prints a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from slides import CELL_PX, make_montage, stamp

INPUTS = Path(__file__).with_name("ood_inputs.csv")
GROUP = "H&E of other organs"
PICTURES = frozenset({".png", ".jpg"})
CELLS = {0.5: 6, 1.0: 4}  # lattice cells a side by pixel size: 24 cells of 0.26 mm2, 9 of 1.05 mm2
SIZE = frozenset({"too_little_tumour", "no_tissue"})  # reasons that say nothing about the kind of tissue


def lattice_tile(picture: Path, turn: int) -> NDArray[np.uint8]:
    """A square of CELL_PX of a picture's copies, each turned; a larger picture is cut."""
    rgb = np.asarray(Image.open(picture).convert("RGB"))
    side = min(*rgb.shape[:2], CELL_PX)
    rgb = rgb[:side, :side]
    count = -(-CELL_PX // side)
    rows = [
        np.concatenate([np.rot90(rgb, turn + row + col) for col in range(count)], axis=1)
        for row in range(count)
    ]
    return np.concatenate(rows)[:CELL_PX, :CELL_PX]


def laid_out(picture: Path, mpp: float, scratch: Path) -> Path:
    """The picture as a slide."""
    tiles = scratch / f"{picture.stem}-tiles"
    tiles.mkdir()
    names = [f"{turn}.png" for turn in range(4)]
    for turn, name in enumerate(names):
        Image.fromarray(np.ascontiguousarray(lattice_tile(picture, turn))).save(tiles / name)
    (tiles / "labels.csv").write_text("file,label\n" + "".join(f"{name},Viable\n" for name in names))
    slide = scratch / f"{picture.stem}.svs"
    make_montage(slide, CELLS[mpp], tiles=tiles, more=["--mpp", str(mpp)])
    return slide


def found(slide: Path, model: str, mpp: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", "run", str(slide), "-o", str(out)]
    pixel = ["--mpp", mpp] if mpp else []
    subprocess.run([*command, "--model", model, "--quiet", *pixel], check=True)
    result: dict[str, Any] = json.loads((out / "slides" / slide.name / "result.json").read_text())
    return result


def doubted(result: dict[str, Any]) -> bool:
    """Not evaluable for a reason other than size, or warned as undecided."""
    if result["status"] != "scored":
        return result["reason"] not in SIZE
    return "undecided" in {each["code"] for each in result["warnings"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    arguments = parser.parse_args()
    with INPUTS.open(newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["group"] == GROUP]
    rows.sort(key=lambda row: Path(row["file"]).name)
    print(stamp())
    print(
        "| input | sets or judges | tissue mm2 | result | percent viable | top probability | entropy | doubted |"
    )
    print("|---|---|---:|---|---:|---:|---:|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for at, row in enumerate(rows):
            path = Path(os.path.expandvars(row["file"]))
            picture = path.suffix in PICTURES
            slide = laid_out(path, float(row["mpp"]), Path(scratch)) if picture else path
            mpp = "" if picture else row["mpp"]
            report(path.name, at, found(slide, arguments.model, mpp, Path(scratch) / "out"))


def report(name: str, at: int, result: dict[str, Any]) -> None:
    mm2 = result["ledger"]["mm2"]
    terms = ("abstained", "non_tumour_by_class", "non_viable_by_class", "viable_by_class")
    tissue = sum(mm2[term] for term in terms)
    percent = "-" if result["percent_viable"] is None else f"{result['percent_viable']:.1f}"
    decision = result["decision"] or {"top_prob": float("nan"), "entropy": float("nan")}
    outcome = result["status"] if result["reason"] is None else result["reason"]
    numbers = f"{percent} | {decision['top_prob']:.3f} | {decision['entropy']:.3f}"
    answer = "yes" if doubted(result) else "NO"
    half = ("sets", "judges")[at % 2]
    print(
        f"| {name} | {half} | {tissue:.1f} | {outcome.replace('_', ' ')} | {numbers} | {answer} |", flush=True
    )


if __name__ == "__main__":
    main()
