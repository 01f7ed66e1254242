"""Run each measurement in a fresh process, sample its memory, and read the JSON in the last line that it prints."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import psutil

HERE = Path(__file__).resolve().parent
EVERY_S = 0.5


class MemoryWatch(threading.Thread):
    """Samples the memory of some processes and all that they started, and keeps the peak; shared pages count once."""

    def __init__(self, pids: Sequence[int]) -> None:
        super().__init__(daemon=True)
        self._roots, self._over = [psutil.Process(pid) for pid in pids], threading.Event()
        self._peaks_mb = {"client": 0, "workers": 0, "all": 0}

    def run(self) -> None:
        while not self._over.wait(EVERY_S):
            client = sum(map(_shared_out_bytes, self._roots)) >> 20
            everyone = sum(map(_shared_out_bytes, family(self._roots))) >> 20
            seen = {"client": client, "workers": everyone - client, "all": everyone}
            self._peaks_mb = {name: max(mb, seen[name]) for name, mb in self._peaks_mb.items()}

    def peaks(self) -> dict[str, int]:
        """Largest memory until now in MiB: of the given processes, of those that they started, and of all."""
        return dict(self._peaks_mb)

    def stop(self) -> dict[str, int]:
        """End the sampling, and give the peaks."""
        self._over.set()
        self.join()
        return self.peaks()


def family(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Processes with their descendants, as far as they still live."""
    members: dict[int, psutil.Process] = {}
    for root in roots:
        try:
            members |= {process.pid: process for process in (root, *root.children(recursive=True))}
        except psutil.NoSuchProcess:
            continue
    return list(members.values())


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time so far of processes and their descendants, those that have ended included."""
    total = 0.0
    for process in family([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def measure(script: str, *arguments: object, others: Sequence[int] = ()) -> dict[str, Any]:
    """Run a script of this folder and give its JSON, with `total_s` and `peak_mb` as seen from outside.

    `others` are processes that work for it, whose memory counts too. The script gets the moment of its
    start in `--started`, to say how long its imports took.
    """
    start = time.perf_counter()
    command = [
        sys.executable,
        str(HERE / script),
        *map(str, arguments),
        "--started",
        str(time.time()),
    ]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watch = MemoryWatch([child.pid, *others])
    watch.start()
    out, _ = child.communicate()
    total, peak = time.perf_counter() - start, watch.stop()["all"]
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
    facts: dict[str, Any] = json.loads(out.splitlines()[-1])
    return facts | {
        "total_s": round(total, 2),
        "peak_mb": max(peak, facts.get("peak_mb", 0)),
    }


def _shared_out_bytes(process: psutil.Process) -> int:
    try:
        return int(getattr(process.memory_full_info(), "pss", 0) or process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0
