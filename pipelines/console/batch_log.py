"""The logs of a batch: a `log.txt` for each slide, and one of the run for all else."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Self

from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.request import folder_in_work
from wsi_necrosis.scores.slide_folder import LOG

from .slide_log import log_file


class BatchLog(logging.Handler):
    """Write each record to the log of the slide that its thread works on.

    Records of a slide whose folder is not there yet are kept until it is; where a slide ends without a folder, they go
    to the log of the run. Records of threads that work on no slide (those of workers) go to the slide that is scored.

    Parameters
    ----------
    watcher : Watcher
        Receives the progress, too.
    run_log : Path
        The log of the run; it is made with its first record.
    scrub : callable
        Takes out of a record what must not be written.
    """

    def __init__(self, watcher: Watcher, run_log: Path, scrub: Callable[[str], str] = str) -> None:
        super().__init__()
        self._scrub = scrub
        self._watcher = watcher
        self._files: dict[Path | None, logging.FileHandler] = {None: log_file(run_log, scrub)}
        self._held: dict[Path, list[logging.LogRecord]] = defaultdict(list)
        self._scored: Path | None = None
        self._access = RLock()
        self._root = logging.getLogger("wsi_necrosis")

    def __enter__(self) -> Self:
        self._level = self._root.level
        self._root.setLevel(logging.INFO)
        self._root.addHandler(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._root.error("stopped: %s", error)
        self._root.removeHandler(self)
        self._root.setLevel(self._level)
        for each in self._files.values():
            each.close()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or keep it for a slide without a folder."""
        with self._access:
            folder = folder_in_work() or self._scored
            if folder is None or folder in self._files:
                self._files[folder].emit(record)
            else:
                self._held[folder].append(record)

    def folder_ready(self, folder: Path) -> None:
        """Open `log.txt` in the folder of work on a slide, and write what was kept.

        It is opened at once and stays open: the folder is renamed when it is published. The watcher is told the folder
        that the slide's results will have.
        """
        with self._access:
            slide = self._scored = folder_in_work() or folder
            file = self._files[slide] = log_file(folder / LOG, self._scrub, delay=False)
            self._flush(slide, file)
        self._watcher.folder_ready(slide)

    def slide_ended(self, folder: Path) -> None:
        """Close the slide's log; what was kept of a slide without a folder goes to the log of the run."""
        with self._access:
            file = self._files.pop(folder, None)
            if file is None:
                self._flush(folder, self._files[None])
            else:
                file.close()
            if self._scored == folder:
                self._scored = None

    def scoring(self, tiles: int, done: int) -> None:
        """Log and pass on."""
        self._root.info("scoring %d tiles, %d of them kept from an earlier run", tiles, done)
        self._watcher.scoring(tiles, done)

    def scored(self, tiles: int) -> None:
        """Pass on."""
        self._watcher.scored(tiles)

    def note(self, text: str) -> None:
        """Log and pass on what may be written."""
        self._root.warning(text)
        self._watcher.note(self._scrub(text))

    def _flush(self, folder: Path, file: logging.FileHandler) -> None:
        for record in self._held.pop(folder, []):
            file.emit(record)
