from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from tests.helpers.jpeg_slides import JpegKind, tissue_like, write_slide
from wsi_necrosis.errors import GoneError, StoreError, UsageError
from wsi_necrosis.viewer.slides import ViewedSlide, ViewedSlides


def slide_of(out: Path, at: int = 0) -> ViewedSlide:
    slides = ViewedSlides(out)
    return slides.slide(slides.summaries()[at]["key"])


def move_slide(out: Path, path: Path | str) -> None:
    """Say in the results of the first slide that it lies elsewhere."""
    file = out / "slides" / "a.tiff" / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"path": str(path)}))


def test_slides_are_named_by_keys_that_hold_no_path(measured: Path) -> None:
    slides = ViewedSlides(measured)
    rows = slides.summaries()
    assert [row["slide_id"] for row in rows] == ["a.tiff", "b.tiff"]
    assert all(set(row["key"]) <= set("0123456789abcdef") for row in rows)
    assert slides.key_of("slides/b.tiff") == rows[1]["key"]
    assert slides.key_of("slides/none.tiff") is None
    for key in ("", "../../etc", "slides/a.tiff", "0" * 12):
        with pytest.raises(UsageError, match="there is no slide"):
            slides.slide(key)


def test_a_slide_is_described(measured: Path) -> None:
    found = slide_of(measured).description()
    assert json.loads(json.dumps(found, allow_nan=False))["slide_id"] == "a.tiff"
    assert found["note"] == ""
    assert found["levels"][0] == {"downsample": 1.0, "tile": (256, 256), "shape": (8, 8)}
    assert found["n_foci"] == len(found["foci"]) > 0
    mask = Image.open(io.BytesIO(slide_of(measured).tissue_png))
    share = (np.asarray(mask)[..., 1] > 127).mean()
    tissue = slide_of(measured).report.result["mask_mm2"]["tissue"]
    assert share == pytest.approx(tissue, abs=0.01)  # of 1 mm2


def test_the_folder_of_one_slide_can_be_shown(measured: Path) -> None:
    assert ViewedSlides(measured / "slides" / "a.tiff").summaries()[0]["folder"] == "."


def test_no_results_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results of slides"):
        ViewedSlides(tmp_path)


def test_a_damaged_result_is_left_out_of_the_list(out: Path) -> None:
    (out / "slides" / "a.tiff" / "result.json").write_text("{}")
    slides = ViewedSlides(out)
    assert [row["slide_id"] for row in slides.summaries()] == ["b.tiff"]
    with pytest.raises(StoreError):
        slides.slide(str(slides.key_of("slides/a.tiff")))


@pytest.mark.parametrize(
    ("path", "said"),
    [("", "as they are anonymised"), ("none.tiff", "is not there any more"), ("other", "is not the slide")],
)
def test_without_its_slide_the_overview_is_shown_and_it_is_said_why(
    out: Path, tmp_path: Path, path: str, said: str
) -> None:
    if path == "other":
        path = str(write_slide(tmp_path / "other.tiff", tissue_like(600, 700), JpegKind()))
    move_slide(out, path)
    slide = slide_of(out)
    found = slide.description()
    assert said in found["note"]
    assert found["note"].endswith("Only its overview is shown.")
    coarse = simplejpeg.decode_jpeg(slide.tile(0, 0, 0))
    assert coarse.std() > 10


def test_a_slide_that_is_taken_away_while_it_is_shown_is_gone(out: Path, tmp_path: Path) -> None:
    original = Path(slide_of(out).report.result["path"])
    copy = tmp_path / "a.tiff"
    copy.write_bytes(original.read_bytes())
    move_slide(out, copy)
    slide = slide_of(out)
    assert slide.tile(0, 0, 0)
    copy.unlink()
    with pytest.raises(GoneError, match=r"a\.tiff cannot be read any more: it was moved, deleted or changed"):
        slide.tile(0, 0, 0)


def test_few_slides_stay_open(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_necrosis.viewer.slides.KEPT_OPEN", 1)
    slides = ViewedSlides(measured)
    keys = [row["key"] for row in slides.summaries()]
    first = slides.slide(keys[0])
    first.tile(0, 0, 0)
    second = slides.slide(keys[1])
    assert slides.slide(keys[1]) is second
    with pytest.raises(GoneError):
        first.tile(0, 0, 0)  # closed
    slides.close()
