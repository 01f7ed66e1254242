from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.runs import run
from wsi_necrosis.slides.phantom import write_phantom


@pytest.fixture(scope="session")
def two_slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two small phantoms, of one case."""
    root = tmp_path_factory.mktemp("review")
    for seed, name in enumerate(("a.tiff", "b.tiff")):
        write_phantom(root / name, np.random.default_rng(seed), side_mm=1.0)
        run(root / name, root / "out" / "slides" / name)
    return root / "out"


@pytest.fixture
def out(two_slides: Path, tmp_path: Path) -> Path:
    """A copy of them, to write into."""
    return Path(shutil.copytree(two_slides, tmp_path / "out"))
