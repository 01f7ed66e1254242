"""Runs on slides that leave something out or contradict themselves: what they measure, and what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.helpers.command import in_process
from tests.helpers.jpeg_slides import JpegKind, write_slide
from tests.helpers.odd_slides import CENTIMETRE, JPEG, OME, write_levels
from tests.helpers.runs import SMALL_PICTURES
from wsi_necrosis.analysis import analyse
from wsi_necrosis.errors import UsageError
from wsi_necrosis.pipelines.info import info
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.slides.slide import open_slide

SETTINGS = load_settings(
    overrides=["model.name=phantom", "quantify.min_tumour_mm2=0.01", "cluster.workers=1", SMALL_PICTURES]
)
SIDE = 1024
TISSUE = phantom_tiles("viable", 512, 1, np.random.default_rng(1))[0]


def measured(path: Path, **options: Any) -> dict[str, Any]:
    result = dict(analyse(path, path.with_suffix(".out"), SETTINGS, **options).result)
    assert "export_failed" not in {each["code"] for each in result["warnings"]}
    return result


def in_glass(fill: int) -> np.ndarray:
    """Tissue in glass, cut by what was not scanned."""
    rgb = np.full((SIDE, SIDE, 3), fill, np.uint8)
    rgb[192:832, 192:832] = 243
    rgb[256:768, 256:768] = TISSUE
    return rgb


def as_tiff(path: Path, *, sparse: bool, **options: object) -> Path:
    """In tiles of 256 px, of which those of glass alone are not stored, if it is to be sparse; but the first is."""
    top = in_glass(243)
    starts = range(0, SIDE, 256)
    tiles = [top[row : row + 256, col : col + 256] for row in starts for col in starts]
    stored = (None if sparse and at and (tile == 243).all() else tile for at, tile in enumerate(tiles))
    kind: dict[str, Any] = JPEG | CENTIMETRE | {"tile": (256, 256)} | options
    tifffile.imwrite(path, stored, shape=top.shape, dtype=np.uint8, **kind)
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the slide gives where all is stored and bright."""
    return measured(as_tiff(tmp_path_factory.mktemp("whole") / "a.tiff", sparse=False))


def test_black_that_was_not_scanned_changes_nothing_else(tmp_path: Path, whole: dict[str, Any]) -> None:
    black = measured(write_levels(tmp_path / "a.tiff", [in_glass(15)], **JPEG))
    one, other = black["ledger"]["mm2"], whole["ledger"]["mm2"]
    assert one["viable_by_class"] == pytest.approx(other["viable_by_class"], rel=0.03)
    assert one["not_scanned"] == pytest.approx((SIDE**2 - 640**2) * 0.25e-6, rel=0.05)
    assert black["status"] == whole["status"] == "scored"
    assert sum(black["ledger"]["px"].values()) == black["ledger"]["total_px"]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.ome.tiff", {"ome": True, "metadata": OME}), ("a.tiff", {}), ("a.tiff", {"compression": "deflate"})],
    ids=["ome-tiff", "jpeg", "deflate"],
)
def test_tiles_that_are_not_stored_stand_in_the_ledger_and_change_nothing_else(
    tmp_path: Path, name: str, options: dict[str, object], whole: dict[str, Any]
) -> None:
    sparse = measured(as_tiff(tmp_path / name, sparse=True, **options))
    assert whole["ledger"]["px"]["not_scanned"] == 0
    # OpenSlide's bounds of a sparse TIFF end with the last tile that is stored
    bounded = options == {}
    assert sparse["ledger"]["px"]["not_scanned"] == (4 if bounded else 11) * 32**2
    assert sparse["status"] == "scored"
    assert sparse["percent_viable_soft"] == pytest.approx(whole["percent_viable_soft"], rel=0.02)
    assert sparse["mask_mm2"]["tissue"] == pytest.approx(whole["mask_mm2"]["tissue"], rel=0.02)


def test_a_scene_is_chosen_and_the_rest_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, pixels in (("small", in_glass(255)[:800]), ("large", in_glass(255))):
            tiff.write(pixels, **(JPEG | {"metadata": OME | {"Name": name}}))
    chosen = measured(path, scene="small")
    assert chosen["provenance"]["slide"]["scene"] == 1
    assert len(chosen["provenance"]["slide"]["scenes"]) == 2
    assert "scenes_left_out" in {each["code"] for each in chosen["warnings"]}
    assert "2: large" in info(path, None, "small")


def test_numbers_of_scenes_come_before_names_and_a_name_of_two_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, side in (("2", 64), ("piece", 128), ("piece", 192)):
            tiff.write(np.zeros((side, side, 3), np.uint8), **(JPEG | {"metadata": OME | {"Name": name}}))
    for scene, side in (("2", 128), ("1", 64), (3, 192)):
        with open_slide(path, scene=scene) as slide:
            assert slide.dimensions == (side, side)
    with pytest.raises(UsageError, match="2 scenes of the name 'piece'; give the number of one"):
        open_slide(path, scene="piece")
    with pytest.raises(UsageError, match="no scene 'other'; it has 1: 2; 2: piece"):
        open_slide(path, scene="other")


def test_a_batch_measures_scenes_by_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, height in (("left", 768), ("right", 896)):
            tiff.write(in_glass(255)[:height], **(JPEG | {"metadata": OME | {"Name": name}}))
    (tmp_path / "m.csv").write_text(
        "path,slide_id,scene,mpp_x\na.ome.tiff,A1,left,0.4\na.ome.tiff,A2,2,\na.ome.tiff,A3,5,\n"
    )
    out = tmp_path / "out"
    few = ("--model", "phantom", "--set", "cluster.processes=false", "--workers", "1")
    assert in_process("batch", str(tmp_path / "m.csv"), "-o", str(out), *few).returncode == 3
    found = [json.loads((out / "slides" / name / "result.json").read_text()) for name in ("A1", "A2")]
    slides = [each["provenance"]["slide"] for each in found]
    assert [(each["scene"], each["size_l0"][1]) for each in slides] == [(1, 768), (2, 896)]
    assert [each["mpp_source"] for each in slides] == [
        "table m.csv, while the slide states 0.5",
        "metadata",
    ]
    assert "has no scene '5'" in (out / "failures.csv").read_text(encoding="utf-8-sig")


def test_a_doubtful_pixel_size_and_colours_are_said(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.svs", in_glass(255), JpegKind(vendor="aperio", factors=(1,)))
    path.write_bytes(path.read_bytes().replace(b"MPP = 0.25", b"MPP = 0.50"))
    assert {each["code"] for each in json.loads(info(path, None, as_json=True))["warnings"]} == {
        "pixel_size_doubtful"
    }
    assert "pixel_size_doubtful" in {each["code"] for each in measured(path)["warnings"]}
