"""Cost of scoring: seconds by stage, areas read, and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from wsi_necrosis.memory import peak_memory_mb, this_process


@dataclass
class WorkerStats:
    """Seconds by stage, and areas in level-0 pixels: decoded by reads, and needed by tiles."""

    seconds: dict[str, float] = field(default_factory=dict)
    decoded_l0: float = 0.0
    needed_l0: float = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def add(self, other: WorkerStats) -> None:
        """Add the counts of another."""
        for name, took in other.seconds.items():
            self.seconds[name] = self.seconds.get(name, 0.0) + took
        self.decoded_l0 += other.decoded_l0
        self.needed_l0 += other.needed_l0


@dataclass(frozen=True)
class ScoringStats:
    """Cost of scoring a slide.

    Attributes
    ----------
    tiles, all_tiles : int
        Tiles scored by this run, and tiles of the slide; the others were scored by an interrupted run.
    work : WorkerStats
        Sums over the workers.
    workers : int
        Number of blocks scored at a time.
    memory_mb : mapping of str to int
        Largest memory of each process that scored, in MiB.
    """

    tiles: int
    all_tiles: int
    work: WorkerStats
    workers: int
    memory_mb: Mapping[str, int] = field(default_factory=dict)


def perf_of(seconds: Mapping[str, float], scoring: ScoringStats, date: str) -> dict[str, Any]:
    """The content of `perf.json`: when it was measured, and where the time went.

    Parameters
    ----------
    seconds : mapping
        Wall-clock seconds by stage of the slide; "score" is one of them.
    scoring : ScoringStats
        Cost of scoring. The workers' seconds are sums over workers, and "waiting" is what is left of the
        scoring's wall-clock time: start of the cluster, loading the model, and idling. "peak_memory_mb" is the sum
        over this process and those that scored, each since it began.
    date : str
        Of the measurement.
    """
    working, needed = scoring.work.seconds, scoring.work.needed_l0
    waiting = max(0.0, scoring.workers * seconds["score"] - sum(working.values()))
    return {
        "date": date,
        "seconds": {name: round(took, 3) for name, took in seconds.items()},
        "worker_seconds": {name: round(took, 3) for name, took in {**working, "waiting": waiting}.items()},
        "tiles": scoring.tiles,
        "tiles_kept": scoring.all_tiles - scoring.tiles,
        "tiles_per_second": _rate(scoring.tiles, seconds["score"]),
        "tiles_per_worker_second": {name: _rate(scoring.tiles, took) for name, took in working.items()},
        "decoded_l0_px": round(scoring.work.decoded_l0),
        "needed_l0_px": round(needed),
        "decoded_over_needed": round(scoring.work.decoded_l0 / needed, 3) if needed else None,
        "workers": scoring.workers,
        "peak_memory_mb": sum({**scoring.memory_mb, this_process(): peak_memory_mb()}.values()),
    }


def _rate(tiles: int, seconds: float) -> float | None:
    return round(tiles / seconds, 2) if tiles and seconds else None
