"""Progress of a slide: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wsi_necrosis.inference.watcher import QuietWatcher, Watcher
from wsi_necrosis.memory import keep_freed_memory

PLAIN_EVERY_S = 10.0


class BarWatcher(QuietWatcher):
    """A progress bar on a terminal."""

    def __init__(self, console: Console) -> None:
        speed = TextColumn("{task.fields[speed]}")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            speed,
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console)
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._bar.start()
        self._task = self._bar.add_task("opening slide", total=None, speed="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def scoring(self, tiles: int, done: int) -> None:
        """Start the bar at the tiles kept from an earlier run."""
        self._start, self._new = time.monotonic(), 0
        self._bar.update(self._known, description="scoring tiles", total=tiles, completed=done)

    def scored(self, tiles: int) -> None:
        """Move the bar."""
        self._new += tiles
        speed = f"{self._new / max(time.monotonic() - self._start, 1e-3):.1f} tiles/s"
        self._bar.update(self._known, advance=tiles, speed=speed)

    @property
    def _known(self) -> TaskID:
        if self._task is None:
            raise RuntimeError("BarWatcher is used outside its context")
        return self._task


class PlainWatcher(QuietWatcher):
    """A line every ten seconds, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def scoring(self, tiles: int, done: int) -> None:
        """Print the number of tiles."""
        self._start = self._printed_s = time.monotonic()
        self._total, self._done, self._new = tiles, done, 0
        kept = f", {done} kept from an earlier run" if done else ""
        self._console.print(f"scoring {tiles} tiles{kept}", highlight=False)

    def scored(self, tiles: int) -> None:
        """Print the progress, at most every ten seconds."""
        self._done, self._new = self._done + tiles, self._new + tiles
        now = time.monotonic()
        if now - self._printed_s < PLAIN_EVERY_S and self._done < self._total:
            return
        self._printed_s = now
        speed = self._new / max(now - self._start, 1e-3)
        left = (self._total - self._done) / speed
        self._console.print(
            f"{self._done} of {self._total} tiles, {speed:.1f} tiles/s, {left:.0f} s left", highlight=False
        )


@contextmanager
def watching(*, quiet: bool) -> Iterator[Watcher]:
    """A bar on a terminal, plain lines elsewhere, nothing when quiet; all on standard error."""
    keep_freed_memory()  # before the bar starts a thread of its own
    console = Console(stderr=True)
    if quiet:
        yield QuietWatcher()
    elif console.is_terminal:
        with BarWatcher(console) as bar:
            yield bar
    else:
        yield PlainWatcher(console)
