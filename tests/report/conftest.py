"""Copies of a finished slide in an output folder."""

import shutil
from pathlib import Path

import pytest

from wsi_necrosis.inference.job import Job


@pytest.fixture
def finished(job: Job, tmp_path: Path) -> Path:
    """A copy of a finished slide's folder, in an output folder."""
    return Path(shutil.copytree(job.folder, tmp_path / "out" / "slides" / "slide.tiff"))
