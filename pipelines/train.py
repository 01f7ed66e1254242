"""`wsi-necrosis train`: from labelled tiles to a checkpoint folder, with a bar on the screen."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.training import build

from .console.fit_progress import fit_bar


def train(config: Path | None, out: Path, overrides: Iterable[str], preset: str | None = None) -> str:
    """Train a model as `training.build.train` does, show the progress, and return its figures as text.

    Raises
    ------
    WsiNecrosisError
        Settings, tiles or the backbone's weights are missing or do not fit.
    """
    return described(build.train(config, out, overrides, preset=preset, watching=fit_bar), out)


def described(spec: ModelSpec, out: Path) -> str:
    """The end of a training: what was made, how good it is on left-out cases, and what to do with it."""
    data, f1 = spec.trained_on, spec.metrics["tile"]["macro_f1"]
    figures = f"macro-F1 of tiles {f1['mean']:.2f}" if f1 else "no macro-F1, as a class is missing"
    if spec.quantity is not None:
        led = spec.quantity.of(spec.quantity.leading)
        figures += f"; percent viable off by {led.rmse:.0f} points (RMSE, simulated slides)"
    return (
        f"model {spec.name}, of {data.n_tiles} tiles of {len(data.cases)} cases, is in {out}\n"
        f"on cases left out in turn: {figures}\n"
        f"use it: wsi-necrosis run SLIDE --model {out}"
    )
