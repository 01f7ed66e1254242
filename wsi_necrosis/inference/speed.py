"""How long models take for a tile on this machine, and whether the faster one would save hours."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from wsi_necrosis.inference.plan import Plan
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.loading import choose_backend, load_model
from wsi_necrosis.settings.run import ModelSettings
from wsi_necrosis.slides.phantom import phantom_tiles

SLOW, FAST = "default", "fast"  # shipped models of one kind
WORTH_S = 3600.0  # of time saved, from which the faster model is named
MOST_S_PER_TILE = 0.2  # of a core: more than any shipped model takes, so that few tiles need no measurement
REPEATS = 3

Timer = Callable[[str, Backend, int], float]


def seconds_per_tile(name: str, backend: Backend, batch_tiles: int) -> float:
    """Seconds of radiomics and network for a tile, in one thread: the median of three batches after a first one."""
    model = load_model(name, backend)
    tiles = phantom_tiles("viable", batch_tiles, model.spec.tile_px, np.random.default_rng(0))
    taken = []
    for _ in range(1 + REPEATS):
        start = time.perf_counter()
        model.predict(tiles)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken[1:])) / batch_tiles


def faster_model(
    plan: Plan, settings: ModelSettings, tiles: int, workers: int, timed: Timer = seconds_per_tile
) -> str | None:
    """A sentence that names the faster shipped model, where it would save more than an hour; None elsewhere.

    Parameters
    ----------
    plan : Plan
        Of a slide with the model that is asked for.
    settings : ModelSettings
        Backend and device that are asked for.
    tiles : int
        Tiles to score.
    workers : int
        Tiles scored at once on a processor; a GPU is shared.
    timed : callable
        Measures seconds per tile of a model on a backend.
    """
    at_once = workers if plan.backend.device == "cpu" else 1
    if plan.model != SLOW or tiles * MOST_S_PER_TILE / at_once <= WORTH_S:
        return None
    other = choose_backend(settings.model_copy(update={"name": FAST}))
    slow, fast = timed(SLOW, plan.backend, plan.batch_tiles), timed(FAST, other, plan.batch_tiles)
    saved_s = tiles * (slow - fast) / at_once
    if saved_s <= WORTH_S:
        return None
    return f"--model {FAST} would save about {saved_s / 3600:.1f} h; see the model card for what it costs in accuracy"
