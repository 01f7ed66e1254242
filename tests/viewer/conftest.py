from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.made_once import made_once, shared_base
from tests.helpers.runs import run
from wsi_necrosis.review.sample import sample_cells
from wsi_necrosis.slides.phantom import write_phantom

SLIDES = ("a.tiff", "b.tiff")


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two small phantoms, and a review of ten cells; for reading alone."""
    slides = (
        shared_base(tmp_path_factory) / "viewer-slides"
    )  # results name the slides' place, which must not move

    def make(folder: Path) -> None:
        slides.mkdir(exist_ok=True)
        for seed, name in enumerate(SLIDES):
            write_phantom(slides / name, np.random.default_rng(seed), side_mm=1.0)
            run(slides / name, folder / "out" / "slides" / name)
        sample_cells(folder / "out", 10, 1)

    return made_once(tmp_path_factory, "viewer", make) / "out"


@pytest.fixture
def out(measured: Path, tmp_path: Path) -> Path:
    """A copy of the results, to write into."""
    return Path(shutil.copytree(measured, tmp_path / "out"))
