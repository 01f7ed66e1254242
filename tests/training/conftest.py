"""Samples of painted tiles, which more than one test file needs."""

from __future__ import annotations

import pytest

from tests.helpers.training_tiles import painted_tiles, tiny
from wsi_necrosis.training.samples import SampleCache, Samples, intra_op_threads


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """Four crops each of one tile of each material in three cases."""
    with intra_op_threads(1):
        return SampleCache(painted_tiles(tmp_path_factory.mktemp("tiles"), each=1)).samples(tiny())
