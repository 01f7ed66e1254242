"""Torch and OpenVINO, in float32 and bfloat16, on one slide: speed, and what each does to the scores.

    python benchmarks/backends.py --cells 20 --repeats 3

Each run is a fresh process; they take turns, every other round backwards. Differences are from torch in float32.
bfloat16 is left out where the processor has no instructions for it. Prints a table for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from children import measure
from slides import SCRATCH, has_bf16, kept_montage, stamp

REFERENCE = "torch", "float32"
Facts = dict[str, Any]
Choice = tuple[str, str]


def choices() -> list[Choice]:
    """Backends and data types, the reference first."""
    dtypes = ("float32", "bfloat16") if has_bf16() else ("float32",)
    return [(backend, dtype) for dtype in dtypes for backend in ("torch", "openvino")]


def run_rounds(slide: Path, folder: Path, words: Iterable[str], repeats: int) -> dict[Choice, list[Facts]]:
    """Facts of every round by choice."""
    found: dict[Choice, list[Facts]] = {choice: [] for choice in choices()}
    for round_ in range(repeats):
        for choice in choices()[:: -1 if round_ % 2 else 1]:
            backend, dtype = choice
            out = folder / f"{backend}-{dtype}"
            given = [*words, "model.device=cpu", f"model.backend={backend}", f"model.dtype={dtype}"]
            facts = measure("own_run.py", slide, out, *(word for one in given for word in ("--set", one)))
            result = json.loads((Path(facts["plan"]).parent / "result.json").read_text())
            found[choice].append(facts | {"percent_viable": result["percent_viable"]})
    return found


def row(choice: Choice, found: dict[Choice, list[Facts]]) -> str:
    """One line of the table."""
    rounds, reference = found[choice], found[REFERENCE]
    prob, reference_prob = (np.load(facts[-1]["plan"])["prob"] for facts in (rounds, reference))
    gap = np.abs(prob - reference_prob)
    percents = [facts[-1]["percent_viable"] for facts in (rounds, reference)]
    percent_change = "none" if None in percents else f"{percents[0] - percents[1]:+.2f}"
    changed_class = (prob.argmax(axis=1) != reference_prob.argmax(axis=1)).mean()
    speed = statistics.median(facts["tiles"] / facts["score_s"] for facts in rounds)
    network = statistics.median(
        1e3 * facts["perf"]["worker_seconds"]["network"] / facts["tiles"] for facts in rounds
    )
    return (
        f"| {choice[0]} | {choice[1]} | {speed:.1f} | {network:.2f} | {gap.mean():.1e} | {gap.max():.1e} | "
        f"{changed_class:.1%} | {percent_change} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V", help="settings of every run")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where slides are kept")
    arguments = parser.parse_args()
    slide = kept_montage(arguments.scratch, arguments.cells)
    with tempfile.TemporaryDirectory() as folder:
        found = run_rounds(slide.path, Path(folder), arguments.set, arguments.repeats)
        tiles = found[REFERENCE][-1]["tiles"]
        print(
            f"\n{stamp()}: {slide.side_px} px montage, {tiles} tiles, medians of {arguments.repeats} rounds\n"
        )
        print(
            "| backend | numbers | tiles/s | network, ms of a thread per tile | probability, mean | largest | "
            "other class | percent viable, points |"
        )
        print("|---" * 8 + "|")
        for choice in choices():
            print(row(choice, found))


if __name__ == "__main__":
    main()
