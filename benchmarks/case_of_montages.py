"""A case of six montages of labelled tiles, one of them unreadable: its number against a sum over ledgers by hand.

    python benchmarks/case_of_montages.py --cells 20 --scratch FOLDER

Classes gather in patches (2.5 mm). The lattice's truth is also written as outlines, so that the case has a second
number, without the model. A folder of slides and results that is there is used again. Prints rows for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slides import make_montage, stamp

SLIDES = 6
CLASSES = {"Viable": "Tumor", "Non-Viable-Tumor": "Necrosis", "Non-Tumor": "Stroma"}


def make_case(folder: Path, cells: int) -> Path:
    """Slides, outlines and manifest; the last slide is cut off."""
    (folder / "outlines").mkdir(parents=True, exist_ok=True)
    lines = ["path,slide_id,case,block,role,mpp_x,mpp_y"]
    for number in range(1, SLIDES + 1):
        path = folder / f"m{number}.svs"
        if not path.exists():
            truth = make_montage(path, cells, number, 300, more=["--clusters", "2.5"])
            (folder / "outlines" / f"m{number}.geojson").write_text(json.dumps(outlines(truth)))
        lines.append(f"m{number}.svs,m{number},C1,b{number},slab,0.5,0.5")
    cut = folder / f"m{SLIDES}.svs"
    cut.write_bytes(cut.read_bytes()[:200_000])
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def outlines(truth: dict[str, Any]) -> list[dict[str, Any]]:
    """Each cell of the lattice as an annotation of its class."""
    side, start = truth["cell_px"], truth["offset_px"]
    found = []
    for cell in truth["lattice"]:
        x, y = cell["col"] * side + start, cell["row"] * side + start
        ring = [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]
        properties = {"objectType": "annotation", "classification": {"name": CLASSES[cell["label"]]}}
        found.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [ring]},
                "properties": properties,
            }
        )
    return found


def wsi_necrosis(*arguments: str | Path, codes: Sequence[int] = (0,)) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in codes:
        sys.exit(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--model", default="fast")
    arguments = parser.parse_args()
    manifest, out = make_case(arguments.scratch, arguments.cells), arguments.scratch / "out"
    wsi_necrosis("batch", manifest, "-o", out, "--model", arguments.model, "--quiet", codes=(3,))
    asked = ["case", manifest, "-o", out, "--annotations", arguments.scratch / "outlines", "--grade", "huvos"]
    print(wsi_necrosis(*asked))
    model, drawn = json.loads((out / "cases.json").read_text())["cases"][0]["numbers"]
    results = [json.loads(path.read_text()) for path in sorted(out.glob("slides/*/result.json"))]
    how = results[0]["estimator"]
    viable, non_viable = (
        sum(each["ledger"]["mm2"][f"{kind}_{how}"] for each in results) for kind in ("viable", "non_viable")
    )
    by_hand = 100 * viable / (viable + non_viable)
    print(f"{stamp()}\n")
    print(
        "| slides | by the model | summed by hand | difference | as outlined | incomplete |\n|---|---|---|---|---|---|"
    )
    percent = model["percent_viable"]
    missing = ", ".join(model["incomplete"])
    print(
        f"| {len(results)} of {SLIDES} | {percent:.4f} % | {by_hand:.4f} % | {abs(percent - by_hand):.1e} | "
        f"{drawn['percent_viable']:.2f} % | {missing} |"
    )


if __name__ == "__main__":
    main()
