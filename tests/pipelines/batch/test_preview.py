import json
from pathlib import Path

import pytest

from wsi_necrosis.pipelines.batch.batch import Options, batch
from wsi_necrosis.pipelines.batch.forecast import ASSUMED
from wsi_necrosis.pipelines.batch.preview import preview_batch
from wsi_necrosis.pipelines.console.batch_progress import QuietBatch
from wsi_necrosis.settings.run import Settings, load_settings
from wsi_necrosis.slides.phantom import write_phantom


@pytest.fixture
def settings() -> Settings:
    return load_settings(overrides=["model.name=phantom", "cluster.workers=2"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A slide, and a file that is none."""
    write_phantom(tmp_path / "a.tiff", side_mm=0.5)
    (tmp_path / "b.svs").write_text("no slide")
    return tmp_path


def test_each_slide_has_a_line_and_all_have_a_sum(folder: Path, settings: Settings) -> None:
    good, bad, total, note = preview_batch([str(folder)], settings, Options(folder / "out"))
    assert good.startswith("a.tiff: 1000 x 1000 px of 0.5 x 0.5 um (TIFF resolution), tissue 0.")
    assert bad.startswith("b.svs: would fail: ")
    assert "not a whole-slide image" in bad
    assert total.startswith("2 slides, 0 of which are up to date and 1 would fail: ")
    assert note == f"note: times and sizes are based on {ASSUMED}"


def test_lines_of_json_hold_the_same(folder: Path, settings: Settings) -> None:
    good, bad = map(json.loads, preview_batch([str(folder)], settings, Options(folder / "out"), as_json=True))
    assert (good["mpp"], good["problem"]) == ([0.5, 0.5], "")
    assert 0 < good["tiles"] < 1000
    assert 0 < good["tissue_mm2"] < 0.25
    assert good["disk_mb"] > 0
    assert good["based_on"] == ASSUMED
    assert bad["tiles"] is None
    assert "not a whole-slide image" in bad["problem"]


def test_what_is_in_the_output_already_counts(folder: Path, settings: Settings) -> None:
    options = Options(folder / "out")
    (folder / "b.svs").unlink()
    assert batch([str(folder / "a.tiff")], settings, options, QuietBatch()) == 0
    line, total, *_ = preview_batch([str(folder / "a.tiff")], settings, options)
    assert line.endswith("results are up to date")
    assert total.startswith("1 slides, 1 of which are up to date and 0 would fail: 0 tiles")
    other = load_settings(overrides=["model.name=phantom", "grid.stride_tiles=0.5"])
    line, *_ = preview_batch([str(folder / "a.tiff")], other, options)
    assert "would fail" in line
    assert "stride" in line
    (line, *_) = preview_batch([str(folder / "a.tiff")], other, Options(folder / "out", overwrite=True))
    assert "about" in line
