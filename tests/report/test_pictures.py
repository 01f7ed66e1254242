import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from wsi_necrosis.inference.job import Job
from wsi_necrosis.report.pictures import cell_pictures

CELLS = [(1, 1), (0, 2)]


@pytest.fixture
def facts(job: Job) -> dict[str, Any]:
    return {"fingerprint": job.fingerprint, "mpp_x": job.mpp.x, "mpp_y": job.mpp.y, "scene": None}


def test_pictures_are_cut_once_and_kept(job: Job, facts: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    found = cell_pictures(folder, CELLS, job.grid, job.slide, facts)
    side = round(1.6 * job.grid.stride_px * job.grid.mpp.x / 0.75)
    assert [Image.open(io.BytesIO(found[cell])).size for cell in CELLS] == [(side, side)] * 2
    assert cell_pictures(folder, CELLS, job.grid, None, facts) == found
    assert cell_pictures(folder, CELLS[:1], job.grid, None, facts) == {CELLS[0]: found[CELLS[0]]}
    assert [path.name for path in folder.iterdir()] == ["1.1.jpg"]


def test_without_the_slide_there_are_none(job: Job, facts: dict[str, Any], tmp_path: Path) -> None:
    assert cell_pictures(tmp_path / "a", CELLS, job.grid, None, facts) == {}
    assert cell_pictures(tmp_path / "a", CELLS, job.grid, tmp_path / "gone.tiff", facts) == {}


def test_another_slide_of_the_same_name_is_not_shown(
    job: Job, facts: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert cell_pictures(tmp_path / "a", CELLS, job.grid, job.slide, {**facts, "fingerprint": "other"}) == {}
    assert "has changed" in caplog.text
