"""`wsi-necrosis train`: from labelled tiles to a checkpoint folder, with a bar on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsi_necrosis.training import build

from .console.fit_progress import fit_bar


def train(config: Path | None, out: Path, overrides: Iterable[str]) -> None:
    """Train a model as `training.build.train` does, and show the progress on a terminal.

    Raises
    ------
    WsiNecrosisError
        Settings, tiles or the backbone's weights are missing or do not fit.
    """
    build.train(config, out, overrides, watching=fit_bar)
