"""How tiles per second, memory and processor time change with the slide's size and with workers.

    python benchmarks/scaling.py --out scaling.json --unit-costs benchmarks/unit_costs.json

Three studies, each run a fresh process, in turn, every other round backwards; medians over `--repeats` rounds:

- sizes: slides of 10, 20 and 40 montage cells (1,024 px each) by two threads;
- workers: one and two threads, two processes, and two `dask worker`s of a `dask scheduler`, on `--cells` cells;
- parts: reading, radiomics and network by one thread alone, beside what they take in a run by two threads.

The second and the third give the unit costs from which `simulate.py` computes. Prints tables for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from children import family, measure
from distributed import Client
from slides import SCRATCH, Montage, kept_montage, stamp

from wsi_necrosis.memory import ENVIRONMENT

SIZES = (10, 20, 40)
STUDIES = ("sizes", "workers", "parts")
SCHEDULER_TASKS_PER_S = 300  # 1,000 empty tasks at once, 199 to 339 on a loaded machine; measured apart, once
TIMEOUT_S = 60
Facts = dict[str, Any]


@dataclass(frozen=True)
class Mode:
    """The kind and number of workers of a run."""

    title: str
    workers: int
    settings: tuple[str, ...]
    scheduler: bool = False


THREAD = Mode("1 thread", 1, ("cluster.workers=1",))
THREADS = Mode("2 threads", 2, ("cluster.workers=2",))
MODES = (
    THREAD,
    THREADS,
    Mode("2 processes", 2, ("cluster.workers=2", "cluster.processes=true")),
    Mode("dask scheduler, 2 dask workers", 2, (), scheduler=True),
)


@contextmanager
def dask_cluster(workers: int) -> Iterator[tuple[str, list[int]]]:
    """A `dask scheduler` and `dask worker`s of one thread each, as processes of their own: address and pids."""
    with tempfile.TemporaryDirectory() as folder:
        contact = Path(folder) / "scheduler.json"
        common = ["--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(contact)]
        started = [_dask("scheduler", "--host", "127.0.0.1", "--port", "0", *common)]
        try:
            _wait_for(contact)
            local = ["--nthreads", "1", "--memory-limit", "0", "--local-directory", folder]
            started += [_dask("worker", *local, *common) for _ in range(workers)]
            address = json.loads(contact.read_text())["address"]
            with Client(address) as client:
                client.wait_for_workers(workers, timeout=TIMEOUT_S)
            yield address, [process.pid for process in started]
        finally:
            for process in started[::-1]:
                _end(process)


def _dask(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stderr=subprocess.DEVNULL)


def _wait_for(path: Path) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not path.exists():
        if time.monotonic() > until:
            raise SystemExit(f"no dask scheduler within {TIMEOUT_S} s")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that this script started, and what it started."""
    members = family([psutil.Process(process.pid)])
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()


def run(slide: Montage, mode: Mode, overrides: list[str]) -> Facts:
    """One run of this project in that mode."""
    with tempfile.TemporaryDirectory() as out:
        if not mode.scheduler:
            return _run(slide, out, [*mode.settings, *overrides], [])
        with dask_cluster(mode.workers) as (address, pids):
            return _run(slide, out, [f"cluster.scheduler={address}", *overrides], pids)


def _run(slide: Montage, out: str, settings: list[str], pids: list[int]) -> Facts:
    words = [word for given in settings for word in ("--set", given)]
    others = ["--others", *map(str, pids)] if pids else []
    facts = measure("own_run.py", slide.path, out, *words, *others, others=pids)
    return facts | {"tiles_per_s": facts["tiles"] / facts["score_s"]}


def parts(slide: Montage, overrides: list[str]) -> Facts:
    """The parts of scoring, each by one thread alone."""
    return measure("parts_run.py", slide.path, *(word for given in overrides for word in ("--set", given)))


def rounds(
    jobs: dict[str, Callable[[], Facts]], repeats: int, found: dict[str, list[Facts]]
) -> dict[str, list[Facts]]:
    """Facts of every round by name; every other round is run backwards."""
    for round_ in range(repeats):
        for name in list(jobs)[:: -1 if round_ % 2 else 1]:
            facts = jobs[name]()
            found.setdefault(name, []).append(facts)
            print(f"round {round_ + 1}: {name}, {facts['total_s']} s", file=sys.stderr, flush=True)
    return found


def middle(runs: list[Facts], get: Callable[[Facts], float]) -> float:
    return float(statistics.median(map(get, runs)))


def paired(runs: list[Facts], others: list[Facts], get: Callable[[Facts], float]) -> float:
    """Median over rounds of a ratio within the round."""
    return float(statistics.median(get(a) / get(b) for a, b in zip(runs, others, strict=True)))


def speed(facts: Facts) -> float:
    return float(facts["tiles_per_s"])


def size_table(found: dict[str, list[Facts]], slides: list[Montage]) -> str:
    rows = [
        "| slide px | MB on disk | made in s | tiles | tiles/s | of the first | peak MB | of the first | total s |",
        "|---" * 9 + "|",
    ]
    first = found[str(slides[0].cells)]
    for slide in slides:
        runs = found[str(slide.cells)]
        rows.append(
            f"| {slide.side_px} | {slide.bytes / 2**20:.0f} | {slide.seconds:.0f} | {runs[0]['tiles']} | "
            f"{middle(runs, speed):.1f} | {paired(runs, first, speed):.2f} | "
            f"{middle(runs, _get('peak_mb')):.0f} | {paired(runs, first, _get('peak_mb')):.2f} | "
            f"{middle(runs, _get('total_s')):.1f} |"
        )
    return "\n".join(rows)


def worker_table(found: dict[str, list[Facts]]) -> str:
    rows = [
        "| workers | tiles/s | of 1 thread | scoring s | cores busy while scoring | between first and last block | "
        "peak MB | total s | bits of the scores |",
        "|---" * 9 + "|",
    ]
    for mode in MODES:
        runs = found[mode.title]
        bits = sorted({facts["bits"] for facts in runs})
        between = [facts for facts in runs if facts["busy_between_blocks"] is not None]
        rows.append(
            f"| {mode.title} | {middle(runs, speed):.1f} | {paired(runs, found[THREAD.title], speed):.2f} | "
            f"{middle(runs, _get('score_s')):.1f} | {100 * middle(runs, _get('busy')):.0f} % | "
            f"{100 * middle(between, _get('busy_between_blocks')) if between else float('nan'):.0f} % | "
            f"{middle(runs, _get('peak_mb')):.0f} | {middle(runs, _get('total_s')):.1f} | {', '.join(bits)} |"
        )
    return "\n".join(rows)


def part_table(alone: list[Facts], together: list[Facts]) -> str:
    """Processor seconds of the parts by one thread alone, and of the scoring of a run by two threads."""
    total, scoring = middle(alone, _alone), middle(together, _get("scoring_cpu_s"))
    rows = ["| part | processor s | ms per tile |", "|---|---|---|"]
    tiles = alone[0]["tiles"]
    for name in alone[0]["cpu"]:
        took = middle(alone, lambda facts, name=name: facts["cpu"][name])  # type: ignore[misc]
        rows.append(f"| {name}, alone | {took:.1f} | {1e3 * took / tiles:.2f} |")
    rows.append(f"| sum of the parts | {total:.1f} | {1e3 * total / tiles:.2f} |")
    rows.append(f"| scoring by 2 threads | {scoring:.1f} | {1e3 * scoring / tiles:.2f} |")
    ratio = statistics.median(t["scoring_cpu_s"] / _alone(a) for a, t in zip(alone, together, strict=True))
    rows.append(f"| ratio, median of rounds | {ratio:.2f} | |")
    return "\n".join(rows)


def unit_costs(slide: Montage, found: dict[str, list[Facts]]) -> Facts:
    """What `simulate.py` computes from; seconds are medians over rounds."""
    alone, one = found["parts"], found[THREAD.title]
    tiles = alone[0]["tiles"]
    blocks = alone[0]["tiles_by_block"]

    def per_tile(*names: str) -> float:
        seconds = middle(alone, lambda facts: sum(facts["cpu"].get(name, 0.0) for name in names))
        return float(f"{seconds / tiles:.6f}")

    return {
        "stamp": stamp(),
        "slide": {"side_px": slide.side_px, "bytes": slide.bytes, "tiles_by_block": blocks},
        "per_tile": {
            "read_s": per_tile("read", "normalise"),
            "radiomics_s": per_tile("radiomics"),
            "network_s": per_tile("network"),
            "read_bytes": round(middle(alone, _get("read_bytes")) / tiles),
            "written_bytes": round(middle(one, _get("written_bytes")) / tiles),
        },
        "per_block": {"write_s": round(middle(alone, lambda facts: facts["cpu"]["write"]) / len(blocks), 5)},
        "per_slide": {
            f"{stage}_s": round(middle(one, lambda facts, stage=stage: facts["perf"]["seconds"][stage]), 3)  # type: ignore[misc]
            for stage in ("open", "tissue", "measure", "export")
        },
        "start_s": round(middle(one, _get("start_s")), 2),
        "scheduler_tasks_per_s": SCHEDULER_TASKS_PER_S,
        "measured": [
            {
                "title": mode.title,
                "workers": mode.workers,
                "score_s": round(middle(found[mode.title], _get("score_s")), 2),
                "cpu_s": round(middle(found[mode.title], _get("scoring_cpu_s")), 2),
            }
            for mode in (THREAD, THREADS)
        ],
    }


def _alone(facts: Facts) -> float:
    return float(sum(facts["cpu"].values()))


def _get(name: str) -> Callable[[Facts], float]:
    return lambda facts: float(facts[name])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="montage cells on a side")
    parser.add_argument("--cells", type=int, default=20, help="of the slide for workers and parts")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=V", help="settings of this project"
    )
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="where slides are kept")
    parser.add_argument("--out", type=Path, help="JSON of every run")
    parser.add_argument("--unit-costs", type=Path, help="JSON for simulate.py; needs workers and parts")
    arguments = parser.parse_args()
    print(f"{stamp()}: medians of {arguments.repeats} rounds\n", flush=True)
    found: dict[str, list[Facts]] = {}
    if "sizes" in arguments.studies:
        slides = [kept_montage(arguments.scratch, cells) for cells in arguments.sizes]
        jobs = {str(slide.cells): _job(slide, THREADS, arguments.set) for slide in slides}
        print(size_table(rounds(jobs, arguments.repeats, found), slides), end="\n\n", flush=True)
    study(arguments, found)
    if arguments.out:
        arguments.out.write_text(json.dumps({"stamp": stamp(), "runs": found}, indent=1))


def study(arguments: argparse.Namespace, found: dict[str, list[Facts]]) -> None:
    """Workers and parts, on one slide and in the same rounds."""
    wanted = [name for name in ("workers", "parts") if name in arguments.studies]
    if not wanted:
        return
    slide = kept_montage(arguments.scratch, arguments.cells)
    modes = MODES if "workers" in wanted else (THREADS,)
    jobs = {mode.title: _job(slide, mode, arguments.set) for mode in modes}
    if "parts" in wanted:
        jobs["parts"] = lambda: parts(slide, arguments.set)
    rounds(jobs, arguments.repeats, found)
    print(f"{slide.side_px} px:\n")
    if "workers" in wanted:
        print(worker_table(found), end="\n\n")
    if "parts" in wanted:
        print(part_table(found["parts"], found[THREADS.title]), end="\n\n")
    if arguments.unit_costs and len(wanted) == 2:
        arguments.unit_costs.write_text(json.dumps(unit_costs(slide, found), indent=1) + "\n")


def _job(slide: Montage, mode: Mode, overrides: list[str]) -> Callable[[], Facts]:
    return lambda: run(slide, mode, overrides)


if __name__ == "__main__":
    main()
