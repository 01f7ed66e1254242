"""Progress, the log of a slide, and clean interruption."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from wsi_necrosis.analysis import Watcher
from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.memory import keep_freed_memory

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
PLAIN_EVERY_S = 10.0


class QuietWatcher:
    """Says nothing."""

    def folder_ready(self, folder: Path) -> None:
        """Ignore it."""

    def scoring(self, tiles: int, done: int) -> None:
        """Ignore it."""

    def scored(self, tiles: int) -> None:
        """Ignore it."""


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
        """Show the bar from the tiles that an earlier run kept."""
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
    """A line now and then, where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def scoring(self, tiles: int, done: int) -> None:
        """Say how much there is to do."""
        self._start = self._spoke = time.monotonic()
        self._total, self._done, self._new = tiles, done, 0
        kept = f", {done} kept from an earlier run" if done else ""
        self._console.print(f"scoring {tiles} tiles{kept}", highlight=False)

    def scored(self, tiles: int) -> None:
        """Say how far it has come, at most every ten seconds."""
        self._done, self._new = self._done + tiles, self._new + tiles
        now = time.monotonic()
        if now - self._spoke < PLAIN_EVERY_S and self._done < self._total:
            return
        self._spoke = now
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


class SlideLog:
    """Keeps log records until the slide's folder exists, then writes them to its `log.txt`."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._held = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
        self._file: logging.FileHandler | None = None
        self._root = logging.getLogger("wsi_necrosis")

    def __enter__(self) -> Self:
        self._level = self._root.level
        self._root.setLevel(logging.INFO)
        self._root.addHandler(self._held)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._root.error("stopped: %s", error)
        self._root.removeHandler(self._held)
        self._root.setLevel(self._level)
        self._held.close()
        if self._file is not None:
            self._file.close()

    def folder_ready(self, folder: Path) -> None:
        """Open `log.txt` and write what was held."""
        self._file = logging.FileHandler(folder / "log.txt", encoding="utf-8")
        formatter = logging.Formatter(FORMAT)
        formatter.converter = time.gmtime
        self._file.setFormatter(formatter)
        self._held.setTarget(self._file)
        self._held.flush()
        self._held.capacity = 1
        self._watcher.folder_ready(folder)

    def scoring(self, tiles: int, done: int) -> None:
        """Log and pass on."""
        self._root.info("scoring %d tiles, %d of them kept from an earlier run", tiles, done)
        self._watcher.scoring(tiles, done)

    def scored(self, tiles: int) -> None:
        """Pass on."""
        self._watcher.scored(tiles)


@contextmanager
def spoken_log() -> Iterator[None]:
    """Log records of the library on standard error, for jobs without a slide's folder."""
    root = logging.getLogger("wsi_necrosis")
    handler, level = logging.StreamHandler(), root.level
    handler.setFormatter(logging.Formatter("%(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an `InterruptedRunError` of the main thread."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # one is enough: the running blocks finish
        raise InterruptedRunError(
            f"stopped by {signal.Signals(number).name}; finished blocks are kept, the same command resumes"
        )

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except InterruptedRunError:
        raise  # the process ends now; a second signal must not break its ending
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
