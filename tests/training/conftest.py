"""Samples of painted tiles, which more than one test file needs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.training_tiles import painted_tiles, save_tile, tiny
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four crops each of one tile of each material in three cases."""
    with intra_op_threads(1):
        return SampleCache(painted_tiles(tmp_path_factory.mktemp("tiles"), each=1)).samples(tiny())


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Three tiles as wide as one crop, two crops and three."""
    folder, rng = tmp_path_factory.mktemp("uneven"), np.random.default_rng(5)
    shapes = ((64, 64), (64, 96), (96, 96))
    pictures = [rng.integers(0, 256, (*shape, 3), np.uint8) for shape in shapes]
    return SampleCache(
        [save_tile(folder / f"{at}.png", pixels, at, "ABC"[at]) for at, pixels in enumerate(pictures)]
    ).samples(tiny())
