"""The log file of a slide, and the log on the terminal for commands without one."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType
from typing import Self

from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.scores.slide_folder import LOG


class SlideLog:
    """Buffer log records until the slide's folder exists, then write them to its `log.txt`."""

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
        """Open `log.txt` and write the buffered records."""
        self._file = log_file(folder / LOG, delay=False)
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

    def note(self, text: str) -> None:
        """Log and pass on."""
        self._root.warning(text)
        self._watcher.note(text)


@contextmanager
def spoken_log() -> Iterator[None]:
    """Log records of the library on standard error, for commands without a slide's folder."""
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


class _Formatter(logging.Formatter):
    """Records with the time in UTC, and without what must not be written."""

    def __init__(self, scrub: Callable[[str], str]) -> None:
        super().__init__()
        self.converter = time.gmtime
        self._scrub = scrub

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line, and a traceback below it; what is scrubbed leaves its time alone."""
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: "
        return head + self._scrub(super().format(record))


class _LogFile(logging.FileHandler):
    """A log that is left incomplete where its disk is full: what could not be written has no place on the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # the base class named it
        """Say nothing of an error of the system; others are faults of the call."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, whose last lines may find no room either."""
        with suppress(OSError):
            super().close()


def log_file(path: Path, scrub: Callable[[str], str] = str, *, delay: bool = True) -> logging.FileHandler:
    """Append to a log, which is opened by its first record, or at once; `scrub` takes out what must not be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(path, encoding="utf-8", delay=delay, errors="backslashreplace")
    handler.setFormatter(_Formatter(scrub))
    return handler
