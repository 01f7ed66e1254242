from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_checkpoint import SPEC, TENSORS
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.slides.phantom import phantom_tiles


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", SPEC, TENSORS)
    return tmp_path / "model"


@pytest.fixture(scope="package")
def model() -> TileModel:
    return load_model("phantom")


@pytest.fixture(scope="package")
def tiles() -> dict[str, np.ndarray]:
    """24 tiles of each material that the phantom's model knows."""
    rng = np.random.default_rng(7)
    return {material: phantom_tiles(material, 24, 32, rng) for material in (*CLASSES, "glass")}


@pytest.fixture(scope="package")
def painted() -> dict[str, np.ndarray]:
    """30 tiles of each class."""
    rng = np.random.default_rng(3)
    return {name: phantom_tiles(name, 30, 40, rng) for name in CLASSES}
