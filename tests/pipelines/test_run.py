"""Real slides through the job that people call."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from wsi_necrosis.errors import PixelSizeError, SlideError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.pipelines.one_slide import RunOptions
from wsi_necrosis.pipelines.printout import as_json, describe
from wsi_necrosis.pipelines.run import dry_run, run
from wsi_necrosis.pipelines.watch import QuietWatcher
from wsi_necrosis.settings import load_settings

FILES = {
    "blocks", "heatmap.ome.zarr", "log.txt", "overlay.png", "perf.json", "regions.geojson", "result.json",
    "scores.zarr", "thumbnail.png", "tiles.parquet",
}  # fmt: skip


def measure(slide: Path, out: Path, *overrides: str, mpp: Mpp | None = None) -> dict[str, Any]:
    report = run(slide, load_settings(overrides=overrides), RunOptions(out, mpp), QuietWatcher())
    assert describe(report).startswith(slide.name)
    assert '"percent_viable"' in as_json(report)
    return dict(report.result)


def montage(data_dir: Path, path: Path, *options: str) -> Path:
    tool = data_dir.parent / "tools" / "montage.py"
    if not tool.is_file():
        pytest.skip(f"no {tool}")
    command = [sys.executable, str(tool), "--tiles", str(data_dir / "tcia_os"), "--out", str(path), *options]
    subprocess.run(command, check=True, capture_output=True)
    return path


def test_a_real_slide_ends_with_every_file(data_dir: Path, tmp_path: Path) -> None:
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    result = measure(slide, tmp_path)
    folder = tmp_path / "slides" / slide.name
    assert {path.name for path in folder.iterdir()} == FILES
    assert (tmp_path / "summary.csv").is_file()
    assert result["status"] in {"scored", "not_evaluable"}
    assert any("research demonstration" in warning for warning in result["warnings"])
    for name in ("overlay.png", "thumbnail.png"):
        assert Image.open(folder / name).convert("L").getextrema()[0] < 100
    assert "scoring 28 tiles" in (folder / "log.txt").read_text()


@pytest.mark.slow
def test_a_montage_gives_a_percentage_and_its_geometry(data_dir: Path, tmp_path: Path) -> None:
    slide = montage(
        data_dir, tmp_path / "m.tiff", "--cells", "8", "--vendor", "generic", "--mpp", "0.5", "0.25"
    )
    result = measure(slide, tmp_path / "out")
    assert result["status"] == "scored"
    assert 0 <= result["percent_viable"] <= 100
    ledger = result["ledger"]
    plane_mm2 = (8 * 1024 * 0.5 / 1e3) * (8 * 1024 * 0.25 / 1e3)
    assert ledger["total_px"] * ledger["pixel_mm2"] == pytest.approx(plane_mm2, rel=1e-6)
    tissue = sum(ledger["mm2"][name] for name in ("non_tumour", "non_viable", "viable"))
    painted = 45 * 1024**2 * 0.5 * 0.25 / 1e6  # 45 of the 64 lattice cells lie inside the ellipse
    assert tissue <= painted * 1.01
    assert tissue >= painted * 0.7  # holes of marrow fat and cracks are glass


def test_a_slide_without_pixel_size_asks_for_it(data_dir: Path, tmp_path: Path) -> None:
    slide = data_dir / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with pytest.raises(PixelSizeError, match="--mpp"):
        measure(slide, tmp_path / "out", "model.name=phantom")
    assert not (tmp_path / "out").exists()
    result = measure(slide, tmp_path / "out", "model.name=phantom", mpp=Mpp(0.5, 0.5))
    assert result["provenance"]["slide"]["mpp_source"] == "--mpp"
    assert result["status"] == "scored"


@pytest.mark.parametrize("name", ["broken.svs", "osp_unopenable.tiff", "osp_unreadable.svs", "missing.svs"])
def test_broken_slides_say_why_and_leave_nothing(data_dir: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(SlideError, match=name):
        measure(data_dir / "slides" / "negative" / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_absurd_pixel_size_is_refused(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(PixelSizeError, match=r"352.*--mpp"):
        measure(data_dir / "slides" / "openslide_boxes.tiff", tmp_path / "out")


def test_a_slide_of_sixteen_pixels_is_not_evaluable(data_dir: Path, tmp_path: Path) -> None:
    result = measure(data_dir / "slides" / "openslide_small.svs", tmp_path)
    assert (result["status"], result["reason"]) == ("not_evaluable", "no_tissue")


def test_a_blank_slide_is_not_evaluable(tmp_path: Path) -> None:
    slide = tmp_path / "blank.tiff"
    glass = np.full((2048, 2048, 3), 243, np.uint8)
    tifffile.imwrite(
        slide, glass, photometric="rgb", tile=(256, 256), compression="jpeg", resolution=(20000, 20000),
        resolutionunit="CENTIMETER", metadata=None,
    )  # fmt: skip
    result = measure(slide, tmp_path / "out")
    assert (result["status"], result["reason"], result["n_tiles"]) == ("not_evaluable", "no_tissue", 0)


def test_dry_run_writes_nothing(data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = dry_run(data_dir / "slides" / "CMU-1-Small-Region.svs", load_settings(), None)
    assert "tiles to score  28" in said
    assert list(tmp_path.iterdir()) == []
