"""Several `wsi-necrosis batch` at once on one output: left alone, one killed, one stopped and woken, overwriting.

python benchmarks/processes.py [--processes 4] [--slides 6] [--side-mm 1] [--seed 1] [--cases together killed ...]
                               [--folder SLIDES --set model.name=default ...]

Synthetic slides, or those of a folder, are analysed by processes of the command with its worker processes.

- `together`: all are started at once; each slide is scored once.
- `killed`: the owner of a slide that is half scored is killed (SIGKILL); the others finish the slide, and the blocks
  that were finished keep their times.
- `array`: as tasks of a SLURM array are started, by a shell that becomes the command; the owner of a half scored slide
  gets SIGTERM, as at the end of its time, and ends with 130. The others finish its slide.
- `stopped`: the first process is stopped (SIGSTOP) within its publishing, after its last check of the claim. The others
  take the slide over. Woken (SIGCONT), it changes nothing, says so, and ends with 0, as all slides have a result.
- `overwriting`: results of other settings stand; one `--overwrite` is interrupted (SIGTERM) and all begin again. Each
  slide is scored once, and finished blocks and slides of the interrupted one are kept.

At the end of each case all results have the bytes of those of one process, `verify` finds no fault, and nothing is left
beside them. Exit code 1 where anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from kills import BLOCKS, OTHER_BLOCKS, SETTINGS, contents, left

from wsi_necrosis.pipelines.verify import verify
from wsi_necrosis.slides.phantom import write_phantom

TIMEOUT_S = 900
POLL_S = 0.01
STOPPED_ONCE = """
import os, signal, sys
from pathlib import Path
from wsi_necrosis.pipelines.cli import main
rename = Path.rename
def stopping(path, target):  # the rename that publishes a slide
    if path.name == "results" and Path(target).parent.name == "slides":
        Path.rename = rename
        os.kill(os.getpid(), signal.SIGSTOP)
    return rename(path, target)
Path.rename = stopping
sys.argv[0] = "wsi-necrosis"
main()
"""


class Batch:
    """A process of the command; its name is that of the file of what it said."""

    def __init__(self, said: Path, command: list[str], environment: Mapping[str, str]) -> None:
        self.said = said
        with said.open("w", encoding="utf-8") as stream:
            self.process = subprocess.Popen(
                command, stdout=stream, stderr=stream, env={**os.environ, **environment}
            )

    def ended(self) -> int:
        return self.process.wait(TIMEOUT_S)

    def text(self) -> str:
        return self.said.read_text(encoding="utf-8")


class Trial:
    """Slides, and what one process makes of them."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        self.root, self.options = root, options
        self.slides = options.folder or root / "slides"
        self.settings = SETTINGS
        if options.folder is None:
            self.slides.mkdir()
            for at in range(options.slides):
                rng = np.random.default_rng([options.seed, at])
                write_phantom(self.slides / f"{at}.tiff", rng, side_mm=options.side_mm)
        self.started = 0
        self.require(self.start(root / "alone", BLOCKS), 0)
        self.whole = contents(root / "alone")

    def start(self, out: Path, *options: str, code: str = "", task: int | None = None) -> Batch:
        """Start the command, or its code; as a task of a SLURM array where that has a number."""
        self.started += 1
        words = ["batch", str(self.slides), "-o", str(out)]
        settings = [word for each in (*self.settings, *self.options.set) for word in ("--set", each)]
        flags = [word for each in options for word in (["--set", each] if "=" in each else [each])]
        program = ["-c", code] if code else ["-m", "wsi_necrosis.pipelines.cli"]
        command, environment = [sys.executable, *program, *words, *settings, *flags], dict[str, str]()
        if task is not None:
            command = ["sh", "-c", f"exec {shlex.join(command)}"]  # as `sbatch --wrap` does
            environment = {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": str(task)}
        return Batch(self.root / f"said-{self.started}.txt", command, environment)

    def require(self, batch: Batch, code: int) -> None:
        ended = batch.ended()
        if ended != code:
            raise SystemExit(f"a process ended with {ended}, not {code}: {batch.text()[-2000:]}")

    def faults(self, out: Path) -> Iterator[str]:
        """Where the results differ from those of one process, and what is left beside them."""
        found, checked = contents(out), verify(out)
        yield from (each for each in {*self.whole, *found} if self.whole.get(each) != found.get(each))
        yield from checked.faults
        yield from (f"left: {each}" for each in left(out))

    def scored_again(self, out: Path) -> Iterator[str]:
        """Slides whose scoring did not begin once."""
        for log in sorted(out.glob("slides/*/log.txt")):
            times = log.read_text(encoding="utf-8").count(": scoring ")
            if times != 1:
                yield f"{log.parent.name}: scoring began {times} times"

    def half_scored(self, out: Path) -> Path:
        """The folder of work on a slide of which some blocks are finished and some are not."""
        needed = {
            each.name: len(list(each.glob("blocks/*"))) for each in (self.root / "alone/slides").iterdir()
        }
        until = time.monotonic() + TIMEOUT_S
        while time.monotonic() < until:
            for work in out.glob("slides/.*.work/*/results"):
                blocks = len(list(work.glob("blocks/[0-9]*.json")))
                if 2 <= blocks < needed[work.parents[1].name[1 : -len(".work")]]:
                    return work
            time.sleep(POLL_S)
        raise SystemExit("no slide was half scored")


def times_of(folder: Path) -> dict[str, int]:
    """When each finished block was written."""
    return {each.name: each.stat().st_mtime_ns for each in folder.glob("blocks/[0-9]*.json")}


def written_again(before: dict[str, int], slide: Path) -> list[str]:
    now = times_of(slide)
    return [
        f"{slide.name}: block {name} was computed again" for name in before if before[name] != now.get(name)
    ]


def slide_of(work: Path) -> Path:
    slot = work.parents[1]
    return slot.with_name(slot.name[1 : -len(".work")])


def together(trial: Trial, out: Path) -> list[str]:
    for each in [trial.start(out, BLOCKS) for _ in range(trial.options.processes)]:
        trial.require(each, 0)
    return list(trial.scored_again(out))


def killed(trial: Trial, out: Path) -> list[str]:
    started = [trial.start(out, BLOCKS) for _ in range(trial.options.processes)]
    return owner_ended(trial, out, started, signal.SIGKILL, -signal.SIGKILL)


def array(trial: Trial, out: Path) -> list[str]:
    tasks = range(1, trial.options.processes + 1)
    started = [trial.start(out, BLOCKS, task=task) for task in tasks]
    return owner_ended(trial, out, started, signal.SIGTERM, 130)


def owner_ended(trial: Trial, out: Path, started: list[Batch], number: int, code: int) -> list[str]:
    """Send a signal to the process whose slide is half scored; the others finish that slide, too."""
    running = {each.process.pid: each for each in started}
    work = trial.half_scored(out)
    owner = json.loads((work.parent / f"alive.{work.parent.name}").read_text(encoding="utf-8"))["pid"]
    before = times_of(work)
    os.kill(owner, number)
    for pid, each in running.items():
        trial.require(each, code if pid == owner else 0)
    slide = slide_of(work)
    perf = json.loads((slide / "perf.json").read_text(encoding="utf-8"))
    alone = json.loads(
        (trial.root / "alone" / "slides" / slide.name / "perf.json").read_text(encoding="utf-8")
    )
    faults = written_again(before, slide)
    if not perf["tiles_kept"] or perf["tiles"] + perf["tiles_kept"] != alone["tiles"]:
        faults.append(
            f"{slide.name}: {perf['tiles']} tiles and {perf['tiles_kept']} kept, of {alone['tiles']}"
        )
    return faults


def stopped(trial: Trial, out: Path) -> list[str]:
    first = trial.start(out, BLOCKS, code=STOPPED_ONCE)
    while psutil.Process(first.process.pid).status() != psutil.STATUS_STOPPED:
        if first.process.poll() is not None:
            raise SystemExit(f"it ended before it was stopped: {first.text()[-2000:]}")
        time.sleep(POLL_S)
    for each in [trial.start(out, BLOCKS) for _ in range(trial.options.processes - 1)]:
        trial.require(each, 0)
    before = {path: path.stat().st_mtime_ns for path in out.glob("slides/*/result.json")}
    first.process.send_signal(signal.SIGCONT)
    trial.require(first, 0)
    faults = [f"{path} was written again" for path, at in before.items() if path.stat().st_mtime_ns != at]
    if "another process took" not in first.text():
        faults.append(f"the process that was stopped does not say so: {first.text()}")
    return faults


def overwriting(trial: Trial, out: Path) -> list[str]:
    trial.require(trial.start(out, OTHER_BLOCKS), 0)
    old = {each: (each / "result.json").stat().st_mtime_ns for each in out.glob("slides/*")}
    first = trial.start(out, BLOCKS, "--overwrite")
    trial.half_scored(out)
    first.process.send_signal(signal.SIGTERM)
    trial.require(first, 130)
    begun = {slide_of(work): times_of(work) for work in out.glob("slides/.*.work/*/results")}
    made = {slide: (slide / "result.json").stat().st_mtime_ns for slide in old}
    for each in [trial.start(out, BLOCKS, "--overwrite") for _ in range(trial.options.processes)]:
        trial.require(each, 0)
    faults = [fault for slide, times in begun.items() for fault in written_again(times, slide)]
    for slide, at in made.items():
        if at != old[slide] and (slide / "result.json").stat().st_mtime_ns != at:
            faults.append(f"{slide.name} was made again")
    return faults + [
        each for each in trial.scored_again(out) if not any(slide.name in each for slide in begun)
    ]


CASES = {
    "together": together, "killed": killed, "array": array, "stopped": stopped, "overwriting": overwriting,
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--slides", type=int, default=6)
    parser.add_argument("--side-mm", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="slides in place of synthetic ones")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V")
    parser.add_argument("--cases", nargs="+", choices=[*CASES], default=[*CASES])
    options = parser.parse_args()
    found: dict[str, Any] = {"processes": options.processes, "seed": options.seed}
    with tempfile.TemporaryDirectory(prefix="wsi-necrosis-processes-") as root:
        trial = Trial(Path(root), options)
        found |= {"slides": len(list((Path(root) / "alone/slides").iterdir())), "files": len(trial.whole)}
        for name in options.cases:
            out = Path(root) / name
            found[name] = sorted([*CASES[name](trial, out), *trial.faults(out)])
            print(f"{name}: {len(found[name])} faults", file=sys.stderr, flush=True)
            shutil.rmtree(out)
    print(json.dumps(found, indent=2))
    return int(any(found[name] for name in options.cases))


if __name__ == "__main__":
    sys.exit(main())
