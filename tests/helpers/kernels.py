"""Compile the loops over pixels into numba's cache, once, which else each process of the tests would do.

python -m tests.helpers.kernels
"""

from __future__ import annotations

import numpy as np

from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.radiomics.recipe import RECIPES
from wsi_necrosis.slides.block_mean import block_mean
from wsi_necrosis.tiling.quality import tile_quality

SIDES = (2, 4)  # of the squares that readers of the test slides take the mean of


def compile_all() -> None:
    """Call each kernel with small arrays of the types that it is called with."""
    for recipe in RECIPES.values():
        prepare(recipe, mpp=1.0)
    describe(np.zeros((1, 32, 32, 3), np.uint8))
    noise = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    tile_quality(noise, np.ones((1, 64, 64), bool), 1.0, 1.0)
    for side in SIDES:
        block_mean(np.zeros((side, side, 3), np.uint8), side)


if __name__ == "__main__":
    compile_all()
