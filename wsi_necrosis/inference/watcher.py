"""The interface through which the progress of a slide is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Watcher(Protocol):
    """Receives the progress of a slide."""

    def folder_ready(self, folder: Path) -> None:
        """The slide's folder exists from now on; nothing was written before."""

    def scoring(self, tiles: int, done: int) -> None:
        """Scoring begins: tiles of the slide, and those kept from an earlier run."""

    def scored(self, tiles: int) -> None:
        """`tiles` more tiles are done."""

    def note(self, text: str) -> None:
        """Something that the user should know, and that is no error."""


class QuietWatcher:
    """A watcher that ignores all progress."""

    def folder_ready(self, folder: Path) -> None:
        """Ignore it."""

    def scoring(self, tiles: int, done: int) -> None:
        """Ignore it."""

    def scored(self, tiles: int) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""
