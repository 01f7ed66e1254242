"""Kill a batch again and again at random moments, run it once more each time, and compare with a batch left alone.

python benchmarks/kills.py [--kills 60] [--seed 1] [--slides 4] [--side-mm 2] [--processes 1]

Synthetic slides are analysed by `analyse_all` in processes of their own. Each round begins with an empty output folder
and kills the processes (SIGKILL) after a random time, until all slides are finished or the kills of the round are used
up; then the batch runs to its end. Every file of results must have the bytes of those of the batch left alone, and no
block that was finished may be computed again, which each process notes for every block that it computes. With
`--processes`, several processes work on the folder at once and one of them is killed. Exit code 1 where anything
differs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.slides.phantom import write_phantom

TIMED = {"perf.json", "log.txt", "hashes.json"}  # with times, or hashes of files with times
KILLS_A_ROUND = 10
SETTINGS = [
    "model.name=phantom", "quantify.min_tumour_mm2=0.1", "grid.block_cells=4", "cluster.workers=1",
    "claims.heartbeat_s=0.2", "claims.silence_s=1",
]  # fmt: skip


def work(slides: Path, out: Path, notes: Path) -> None:
    """Analyse all slides; every block whose record is written by this process is noted."""
    from wsi_necrosis.analysis import Request, analyse_all
    from wsi_necrosis.report.slide_report import SlideReport
    from wsi_necrosis.scores.store import ScoreStore
    from wsi_necrosis.settings.run import load_settings

    write_block = ScoreStore.write_block

    def noted(store: ScoreStore, block: object, found: object) -> None:
        write_block(store, block, found)  # type: ignore[arg-type]  # passed on
        slide = store.folder.parents[1].name.removeprefix(".").removesuffix(".work")
        with notes.open("a", encoding="utf-8") as stream:
            stream.write(f"{slide} {block.name}\n")  # type: ignore[attr-defined]

    ScoreStore.write_block = noted  # type: ignore[method-assign,assignment]
    requests = [Request(slide, out / "slides" / slide.name) for slide in sorted(slides.glob("*.tiff"))]
    for request, outcome in analyse_all(requests, load_settings(overrides=SETTINGS)):
        if not isinstance(outcome, SlideReport):
            sys.exit(f"{request.name}: {outcome}")
        write_summary(out)


def started(slides: Path, out: Path, notes: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--work", str(slides), str(out), str(notes)]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def finish(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        _, said = process.communicate(timeout=600)
        if process.returncode:
            raise SystemExit(f"a run without a kill failed: {said.decode()[-2000:]}")


def killed(process: subprocess.Popen[bytes], after_s: float) -> bool:
    """Whether the process was still running after so many seconds, when it is killed."""
    time.sleep(after_s)
    still = process.poll() is None
    process.kill()
    process.communicate()
    return still


def contents(out: Path) -> dict[str, bytes]:
    """Every file of results by name; claims and temporary files are among them."""
    files = (path for path in sorted((out / "slides").rglob("*")) if path.is_file())
    found = {str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in TIMED}
    return {**found, "summary.csv": (out / "summary.csv").read_bytes()}


def computed_twice(notes: Path) -> list[str]:
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return [line for line, times in Counter(lines).items() if times > 1]


def rounds(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Kill and run until the kills are used up; what was found."""
    rng, slides = np.random.default_rng(options.seed), folder / "phantoms"
    slides.mkdir()
    for at in range(options.slides):
        write_phantom(slides / f"{at}.tiff", np.random.default_rng(at), side_mm=options.side_mm)
    began = time.monotonic()
    finish([started(slides, folder / "whole", folder / "whole.txt")])
    took, whole = time.monotonic() - began, contents(folder / "whole")
    kills, faults, round_of = 0, list[str](), 0
    while kills < options.kills:
        round_of += 1
        out, notes = folder / f"round-{round_of}", folder / f"round-{round_of}.txt"
        running = [started(slides, out, notes) for _ in range(options.processes - 1)]
        for _ in range(min(KILLS_A_ROUND, options.kills - kills)):
            kills += 1
            if not killed(started(slides, out, notes), rng.uniform(0, took)):
                break
        finish([*running, started(slides, out, notes)])
        found = contents(out)
        faults += [
            f"round {round_of}: {name}" for name in {*whole, *found} if whole.get(name) != found.get(name)
        ]
        faults += [f"round {round_of}: computed again: {line}" for line in computed_twice(notes)]
        shutil.rmtree(out)
    return {
        "kills": kills, "rounds": round_of, "seed": options.seed, "files": len(whole),
        "seconds_alone": round(took, 1), "faults": sorted(faults),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--side-mm", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--work", nargs=3, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work)
        return 0
    with tempfile.TemporaryDirectory(prefix="wsi-necrosis-kills-") as folder:
        found = rounds(Path(folder), options)
    print(json.dumps(found, indent=2))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
