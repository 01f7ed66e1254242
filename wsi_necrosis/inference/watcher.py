"""Who is told how far a slide has come."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Watcher(Protocol):
    """Is told how far a slide has come."""

    def folder_ready(self, folder: Path) -> None:
        """Nothing was written before this; from now on the slide's folder exists."""

    def scoring(self, tiles: int, done: int) -> None:
        """Scoring begins: tiles of the slide, and those kept from an earlier run."""

    def scored(self, tiles: int) -> None:
        """So many more tiles are done."""


class QuietWatcher:
    """A watcher that says nothing."""

    def folder_ready(self, folder: Path) -> None:
        """Ignore it."""

    def scoring(self, tiles: int, done: int) -> None:
        """Ignore it."""

    def scored(self, tiles: int) -> None:
        """Ignore it."""
