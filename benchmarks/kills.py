"""Kill a batch again and again, run it once more each time, and compare with a batch left alone.

python benchmarks/kills.py [--kills 60] [--seed 1] [--slides 4] [--side-mm 2] [--processes 1] [--overwrite]

Synthetic slides are analysed by `batch` in processes of their own. Each round begins with an empty output folder and
kills the processes (SIGKILL), until all slides are finished or the kills of the round are used up; then the batch runs
to its end. Every second kill comes after a random time, and the others within one step of the analysis, each step in
turn. With `--processes`, several processes work on the folder at once and one of them is killed. With `--overwrite`,
each round begins with finished results of other settings, which are replaced.

At the end of a round every file of results must have the bytes of those of the batch left alone, nothing else may be
left beside them, `verify` must find no fault, and no block that was finished may have been computed again, which each
process notes for every block that it computes. Exit code 1 where anything differs.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsi_necrosis.pipelines.verify import verify
from wsi_necrosis.slides.phantom import write_phantom

TIMED = {"perf.json", "log.txt", "hashes.json"}  # with times, or hashes of files with times
KILLS_A_ROUND = 10
POLL_S = 0.002
SETTINGS = [
    "model.name=phantom", "quantify.min_tumour_mm2=0.1", "cluster.workers=1",
    "claims.heartbeat_s=0.2", "claims.silence_s=1",
]  # fmt: skip
BLOCKS, OTHER_BLOCKS = "grid.block_cells=4", "grid.block_cells=8"
STEPS = ("open", "claim", "score", "measure", "export", "publish", "end", "tables")


def work(slides: Path, out: Path, notes: Path, steps: Path, *settings: str) -> int:
    """Analyse all slides; blocks whose record is written and steps that begin and end are noted."""
    from wsi_necrosis import claims, stages
    from wsi_necrosis.export import export_slide
    from wsi_necrosis.pipelines.batch import batch as job
    from wsi_necrosis.pipelines.console.batch_progress import QuietBatch
    from wsi_necrosis.scores.store import ScoreStore
    from wsi_necrosis.settings.run import load_settings

    write_block = ScoreStore.write_block

    def noted(store: ScoreStore, block: Any, found: Any) -> None:
        write_block(store, block, found)
        slide = store.folder.parents[1].name.removeprefix(".").removesuffix(".work")
        append(notes, f"{slide} {block.name}")

    ScoreStore.write_block = noted  # type: ignore[method-assign]
    places = (
        (stages, "open_slide"), (claims, "_acquired"), (stages, "score_slide"), (stages, "measure"),
        (export_slide, "export_slide"), (stages, "publish"), (claims.Claim, "end"), (job, "write_summary"),
    )  # fmt: skip
    for step, (owner, name) in zip(STEPS, places, strict=True):
        setattr(owner, name, marked(step, getattr(owner, name), steps))
    overwrite = (out / "slides").exists()
    return job.batch(
        [str(slides)], load_settings(overrides=settings), job.Options(out, overwrite=overwrite), QuietBatch()
    )


def append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(f"{line}\n")


def marked(step: str, function: Callable[..., Any], steps: Path) -> Callable[..., Any]:
    """The function, which notes when it begins and ends."""

    def call(*given: Any, **named: Any) -> Any:
        append(steps, f"begin {step} {time.time()}")
        try:
            return function(*given, **named)
        finally:
            append(steps, f"end {step} {time.time()}")

    return call


@dataclass
class Run:
    """A process that runs the batch."""

    process: subprocess.Popen[bytes]
    steps: Path

    def noted(self) -> list[list[str]]:
        """Steps that began and ended, in order."""
        text = self.steps.read_text(encoding="utf-8") if self.steps.exists() else ""
        return [line.split() for line in text.splitlines()]

    def begun(self, step: str) -> int:
        return sum(line[:2] == ["begin", step] for line in self.noted())

    def under_way(self) -> set[str]:
        """Steps that have begun and not ended; `start` before the first, `between` where there is none."""
        counts = Counter[str]()
        for kind, step, _ in self.noted():
            counts[step] += 1 if kind == "begin" else -1
        if not counts:
            return {"start"}
        return {step for step, open_ in counts.items() if open_ > 0} or {"between"}

    def seconds(self, step: str) -> float:
        """How long a step took in the mean."""
        times = [(1 if kind == "end" else -1) * float(at) for kind, name, at in self.noted() if name == step]
        return 2 * sum(times) / max(1, len(times))

    def finish(self) -> None:
        _, said = self.process.communicate(timeout=600)
        if self.process.returncode:
            raise SystemExit(f"a run without a kill failed: {said.decode()[-2000:]}")

    def kill(self) -> bool:
        """Whether it was still running."""
        still = self.process.poll() is None
        self.process.kill()
        self.process.communicate()
        return still


class Campaign:
    """Rounds of kills in a folder."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.rng = np.random.default_rng(options.seed)
        self.slides = folder / "slides"
        self.slides.mkdir()
        for at in range(options.slides):
            write_phantom(self.slides / f"{at}.tiff", np.random.default_rng(at), side_mm=options.side_mm)
        began = time.monotonic()
        self.alone = self.start(folder / "whole", folder / "whole.txt")
        self.alone.finish()
        self.took = time.monotonic() - began
        self.whole = contents(folder / "whole")
        if options.overwrite:
            self.start(folder / "old", folder / "old.txt", OTHER_BLOCKS).finish()
        self.kills = 0
        self.steps = Counter[str]()

    def start(self, out: Path, notes: Path, blocks: str = BLOCKS) -> Run:
        steps = Path(tempfile.mkdtemp(dir=self.folder)) / "steps"
        command = [sys.executable, __file__, "--work", self.slides, out, notes, steps, *SETTINGS, blocks]
        return Run(subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE), steps)

    def kill(self, run: Run) -> bool:
        """Kill a run at a random moment, or in one of the steps; False where it had ended before."""
        if self.kills % 2:
            time.sleep(self.rng.uniform(0, self.took))
        else:
            step = STEPS[self.kills // 2 % len(STEPS)]
            time.sleep(self.rng.uniform(0, self.took / 2))
            before = run.begun(step)
            while run.begun(step) == before and run.process.poll() is None:
                time.sleep(POLL_S)
            time.sleep(self.rng.uniform(0, self.alone.seconds(step)))
        still = run.kill()
        if still:
            self.kills += 1
            self.steps.update(run.under_way())
        return still

    def round(self, name: str) -> list[str]:
        """Kill and run again until the batch is done; what was found wrong."""
        out, notes = self.folder / name, self.folder / f"{name}.txt"
        if self.options.overwrite:
            shutil.copytree(self.folder / "old", out)
        running = [self.start(out, notes) for _ in range(self.options.processes - 1)]
        for _ in range(min(KILLS_A_ROUND, self.options.kills - self.kills)):
            if not self.kill(self.start(out, notes)):
                break
        for run in (*running, self.start(out, notes)):
            run.finish()
        self.start(out, notes).finish()  # finds all up to date, and what the killed ones left
        found = contents(out)
        faults = [each for each in {*self.whole, *found} if self.whole.get(each) != found.get(each)]
        faults += [f"computed again: {line}" for line in computed_twice(notes)]
        faults += [f"left: {each.relative_to(out)}" for each in left(out)]
        checked = verify(out)
        faults += [str(checked)] if checked.faults else []
        shutil.rmtree(out)
        return [f"{name}: {each}" for each in faults]


def contents(out: Path) -> dict[str, bytes]:
    """Every file of results by name."""
    files = (path for path in sorted((out / "slides").rglob("*")) if path.is_file())
    found = {str(path.relative_to(out)): path.read_bytes() for path in files if path.name not in TIMED}
    return {**found, **{name: (out / name).read_bytes() for name in ("summary.csv", "failures.csv")}}


def left(out: Path) -> list[Path]:
    """Hidden files and folders, but for half-written records, which a later run deletes after an hour."""
    records = {*out.glob(".*.partial"), *(out / "runs").glob(".*.partial")}
    return [each for each in out.rglob(".*") if each.name != ".summary.json" and each not in records]


def computed_twice(notes: Path) -> list[str]:
    lines = notes.read_text(encoding="utf-8").splitlines() if notes.exists() else []
    return [line for line, times in Counter(lines).items() if times > 1]


def campaign(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Kill and run until the kills are used up; what was found."""
    made = Campaign(folder, options)
    faults, rounds = list[str](), 0
    while made.kills < options.kills:
        rounds += 1
        faults += made.round(f"round-{rounds}")
    return {
        "kills": made.kills, "killed_in": dict(made.steps), "rounds": rounds, "seed": options.seed,
        "files": len(made.whole), "seconds_alone": round(made.took, 1), "faults": sorted(faults),
    }  # fmt: skip


def main() -> int:
    if "--work" in sys.argv:
        given = sys.argv[sys.argv.index("--work") + 1 :]
        return work(*map(Path, given[:4]), *given[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slides", type=int, default=4)
    parser.add_argument("--side-mm", type=float, default=2.0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--overwrite", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsi-necrosis-kills-") as folder:
        found = campaign(Path(folder), options)
    print(json.dumps(found, indent=2))
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main())
