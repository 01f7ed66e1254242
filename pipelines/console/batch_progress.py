"""Progress of a batch: a line for the batch over the bar of the slide on a terminal, a line a slide elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wsi_necrosis.inference.watcher import QuietWatcher, Watcher
from wsi_necrosis.memory import keep_freed_memory


class BatchWatcher(Watcher, Protocol):
    """Receives the progress of a batch."""

    def starting(self, slides: int, done: int) -> None:
        """Slides are analysed from now on: all of the batch, and those whose results are up to date."""

    def slide_ended(self, said: str, *, failed: bool) -> None:
        """A slide is done; what became of it in a line."""


class QuietBatch(QuietWatcher):
    """A watcher that ignores all progress."""

    def starting(self, slides: int, done: int) -> None:
        """Ignore it."""

    def slide_ended(self, said: str, *, failed: bool) -> None:
        """Ignore it."""


class PlainBatch(QuietBatch):
    """A line a slide, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._slides = self._ended = 0
        self._began_s = time.monotonic()

    def starting(self, slides: int, done: int) -> None:
        """Print the number of slides."""
        self._slides, self._ended = slides, done
        kept = f", {done} of them are up to date" if done else ""
        self._print(f"{slides} slides{kept}")
        self._began_s = time.monotonic()

    def note(self, text: str) -> None:
        """Print it."""
        self._print(f"note: {text}")

    def slide_ended(self, said: str, *, failed: bool) -> None:
        """Print it with the time since the slide before."""
        took, self._began_s = time.monotonic() - self._began_s, time.monotonic()
        self._ended += 1
        self._print(f"{self._ended} of {self._slides}  {said}  ({took:.0f} s)")

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)


class BarBatch(QuietBatch):
    """A line for the batch over the bar of the slide, on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[said]}", markup=False),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bar = Progress(*columns, console=console)
        self._all: TaskID = self._bar.add_task("slides", total=None, said="")
        self._slide: TaskID = self._bar.add_task("opening slide", total=None, said="")
        self._failed = self._new = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def starting(self, slides: int, done: int) -> None:
        """Start the line of the batch at the slides that are up to date."""
        self._bar.reset(self._all, total=slides, completed=done, said="")

    def note(self, text: str) -> None:
        """Print it over the bars."""
        self._bar.console.print(f"note: {text}", highlight=False, markup=False)

    def slide_ended(self, said: str, *, failed: bool) -> None:
        """Move the line of the batch, and print what failed over the bars."""
        self._failed += failed
        if failed:
            self._bar.console.print(said, highlight=False, markup=False)
        failures = f"{self._failed} failed" if self._failed else ""
        self._bar.update(self._all, advance=1, said=failures)
        self._bar.reset(self._slide, description="opening slide", total=None, said="")

    def folder_ready(self, folder: Path) -> None:
        """Name the slide."""
        self._bar.update(self._slide, description=folder.name)

    def scoring(self, tiles: int, done: int) -> None:
        """Start the bar of the slide at the tiles kept from an earlier run."""
        self._began_s, self._new = time.monotonic(), 0
        self._bar.update(self._slide, total=tiles, completed=done)

    def scored(self, tiles: int) -> None:
        """Move the bar of the slide."""
        self._new += tiles
        speed = f"{self._new / max(time.monotonic() - self._began_s, 1e-3):.1f} tiles/s"
        self._bar.update(self._slide, advance=tiles, said=speed)


@contextmanager
def watching_batch(*, quiet: bool) -> Iterator[BatchWatcher]:
    """Bars on a terminal, lines elsewhere, nothing when quiet; all on standard error."""
    keep_freed_memory()  # before the bar starts a thread of its own
    console = Console(stderr=True)
    if quiet:
        yield QuietBatch()
    elif console.is_terminal:
        with BarBatch(console) as bar:
            yield bar
    else:
        yield PlainBatch(console)
