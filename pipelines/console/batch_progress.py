"""Progress of a batch: a line for the batch over the bar of the slide on a terminal, a line a slide elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from wsi_necrosis.inference.watcher import QuietWatcher, Watcher
from wsi_necrosis.memory import keep_freed_memory

from .printout import duration

BAR, NAME = 10, 20  # widths in letters: beside both, the line of a batch fits into 80


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
    """A line for the batch over the bar of the slide that is scored, on a terminal.

    The batch's line is moved when a slide ends, which is while the next one is scored.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
            BarColumn(bar_width=BAR),
            TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True)),
        )
        self._bar = Progress(*columns, console=console)
        self._all: TaskID = self._bar.add_task("slides", total=None, said="")
        self._slide: TaskID = self._bar.add_task("opening slides", total=None, said="")
        self._slides = self._kept = self._done = self._failed = self._new = 0
        self._batch_s = self._first_s = self._slide_s = time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def starting(self, slides: int, done: int) -> None:
        """Start the line of the batch at the slides that are up to date."""
        self._slides, self._kept, self._done, self._batch_s = slides, done, done, time.monotonic()
        self._bar.update(self._all, total=slides, completed=done, said=self._of_batch())

    def note(self, text: str) -> None:
        """Print it over the bars."""
        self._bar.console.print(f"note: {text}", highlight=False, markup=False)

    def slide_ended(self, said: str, *, failed: bool) -> None:
        """Move the line of the batch, and print what failed over the bars."""
        if failed:
            self._failed += 1
            self._bar.console.print(said, highlight=False, markup=False)
        else:
            self._done += 1
        self._bar.update(self._all, completed=self._done + self._failed, said=self._of_batch())

    def folder_ready(self, folder: Path) -> None:
        """Name the slide that is scored from now on."""
        self._bar.reset(self._slide, description=_cut(folder.name), total=None, said="")

    def scoring(self, tiles: int, done: int) -> None:
        """Start the bar of the slide at the tiles kept from an earlier run."""
        self._slide_s, self._new = time.monotonic(), 0
        self._bar.update(self._slide, total=tiles, completed=done, said=f"{done} of {tiles} tiles")

    def scored(self, tiles: int) -> None:
        """Move the bar of the slide."""
        self._new += tiles
        self._bar.advance(self._slide, tiles)
        task = self._bar.tasks[self._slide]
        done, total = round(task.completed), round(task.total or 0)
        speed = self._new / max(time.monotonic() - self._slide_s, 1e-3)
        left = f", {duration((total - done) / speed)} left" if done < total else ""
        self._bar.update(self._slide, said=f"{done} of {total} tiles, {speed:.1f} tiles/s{left}")

    def _of_batch(self) -> str:
        """Slides done, failed and left; the time left, once slides have shown how long they take."""
        left, new = self._slides - self._done - self._failed, self._done - self._kept + self._failed
        said, now = (
            f"{self._done} of {self._slides} done, {self._failed} failed, {left} left",
            time.monotonic(),
        )
        if new == 1:
            self._first_s = now
        if not left:
            return f"{said}, after {duration(now - self._batch_s)}"
        if new < 2:  # the first one waits for the workers to start, and says little of the others
            return said
        return f"{said}, about {duration(left * (now - self._first_s) / (new - 1))}"


def _cut(name: str) -> str:
    """A name without its middle, where it is too long."""
    half = NAME // 2
    return name if len(name) <= NAME else f"{name[: half - 1]}\N{HORIZONTAL ELLIPSIS}{name[-half:]}"


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
