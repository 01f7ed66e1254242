"""What a way of making a model costs on a slide: processor seconds of its network and radiomics for one tile."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.backbones import initial_backbone
from wsi_necrosis.training.samples import intra_op_threads, measure, pooled_of, recipe_of

REPEATS = 3  # the fastest counts: others share the machine
DIGITS = 4


def seconds_per_tile(pixels: NDArray[np.uint8], settings: TrainSettings) -> float:
    """Seconds of one core for a tile: the backbone in float32 with torch, and the radiomics, without the heads.

    Parameters
    ----------
    pixels : uint8 array (n, h, w, 3)
        Crops to time.
    settings : TrainSettings
        Name the backbone, unless radiomics stand alone, and the recipe.
    """
    recipe = recipe_of(settings.network)
    jobs: list[Callable[[], object]] = []
    if settings.network.fusion != "radiomics":
        backbone = initial_backbone(settings.network, settings.fit.seed)
        jobs.append(lambda: pooled_of(backbone, pixels, "cpu"))
    if recipe.features:
        jobs.append(lambda: measure(pixels, recipe, settings.crops.mpp_um))
    with intra_op_threads(1):
        seconds = sum(min(_seconds(job) for _ in range(REPEATS)) for job in jobs)
    return round(seconds / len(pixels), DIGITS)


def _seconds(job: Callable[[], object]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start
