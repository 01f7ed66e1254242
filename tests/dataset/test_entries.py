from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.tile_folders import data, picture
from wsi_necrosis.classes import NON_TUMOUR
from wsi_necrosis.dataset.entries import Entry, pictures_below, settle
from wsi_necrosis.dataset.labels import CERTAIN, MIXED_LABEL
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError

SOURCE = Path("labels.csv")


@pytest.fixture
def good(tmp_path: Path) -> Entry:
    return Entry("a.png", picture(tmp_path / "a.png"), "Non-Tumor", "A")


def test_what_a_source_leaves_out_is_filled_in(good: Entry) -> None:
    sha256 = hashlib.sha256(good.path.read_bytes()).hexdigest()
    expected = LabelledTile(good.path, CERTAIN[NON_TUMOUR], "A", "A", 0, 0, 0.5, sha256)
    assert settle([good], SOURCE, data(SOURCE)) == (expected,)
    full = replace(good, slide="A-1", x_l0=3, y_l0=4, mpp=0.25, sha256=sha256.upper())
    expected = LabelledTile(good.path, CERTAIN[NON_TUMOUR], "A", "A-1", 3, 4, 0.25, sha256)
    assert settle([full], SOURCE, data(SOURCE, mpp_um=None)) == (expected,)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"label": "viable tumour"},
            "unknown labels 'viable tumour'; known are 'Non-Tumor', .*'viable: non-viable'",
        ),
        ({"label": "Viable "}, "unknown labels 'Viable '"),
        ({"label": ""}, "unknown labels ''"),
        ({"case": ""}, "names no case for 'b0', 'b1', 'b2', 'b3', 'b4' and 1 more"),
        ({"path": Path("nowhere.png")}, "labels.csv lists more than once 'b0'"),
        ({"sha256": "77"}, "another sha256 than the file has for 'b0', 'b1', 'b2', 'b3', 'b4' and 1 more"),
    ],
)
def test_all_faults_of_a_kind_are_listed(tmp_path: Path, good: Entry, changed: dict, message: str) -> None:
    faulty = [replace(good, name=f"b{at}", path=picture(tmp_path / f"b{at}.png", at + 1)) for at in range(6)]
    with pytest.raises(DatasetError, match=message):
        settle([good, *(replace(entry, **changed) for entry in faulty)], SOURCE, data(SOURCE))


def test_missing_pictures_are_listed(tmp_path: Path, good: Entry) -> None:
    absent = [Entry(name, tmp_path / name, "Viable", "A") for name in ("z.png", "y.png")]
    with pytest.raises(DatasetError, match=r"not there: 'y\.png', 'z\.png'"):
        settle([good, *absent], SOURCE, data(SOURCE))


def test_missing_pixel_sizes_are_listed(tmp_path: Path, good: Entry) -> None:
    sized = Entry("b.png", picture(tmp_path / "b.png"), "Viable", "A", mpp=0.5)
    with pytest.raises(DatasetError, match=r"missing pixel size for 'a\.png'; give a column mpp"):
        settle([good, sized], SOURCE, data(SOURCE, mpp_um=None))


def test_one_picture_under_two_spellings_of_its_path_is_listed_twice(tmp_path: Path, good: Entry) -> None:
    other = replace(good, name="b/../a.png", path=tmp_path / "b" / ".." / "a.png")
    with pytest.raises(DatasetError, match=r"more than once 'a\.png', 'b/\.\./a\.png'"):
        settle([good, other], SOURCE, data(SOURCE))


def test_mixed_tiles_are_left_out_unchecked_and_counted(
    tmp_path: Path, good: Entry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    mixed = Entry("m.png", tmp_path / "m.png", MIXED_LABEL, "")
    assert len(settle([good, mixed], SOURCE, data(SOURCE))) == 1
    assert "1 of 2 tiles are labelled 'viable: non-viable'" in caplog.text
    with pytest.raises(DatasetError, match="gives no tiles"):
        settle([mixed], SOURCE, data(SOURCE))
    with pytest.raises(DatasetError, match="names no case for"):
        settle([mixed], SOURCE, data(SOURCE, mixed="soft"))


def test_half_of_a_mixed_tile_is_of_each_kind(good: Entry) -> None:
    (found,) = settle([replace(good, label=MIXED_LABEL)], SOURCE, data(SOURCE, mixed="soft"))
    assert found.truth == (0, 0.5, 0.5)
    assert found.label is None


def test_pictures_are_found_at_any_depth_but_hidden_ones_are_none(tmp_path: Path) -> None:
    for name in ("b/c/2.JPG", "a/1.tiff", "a/._1.tiff", "0.png", "a/3.bmp"):
        picture(tmp_path / Path(name).with_suffix(".png")).rename(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    (tmp_path / "d.png").mkdir()
    (tmp_path / "a" / "4.png").symlink_to(tmp_path / "nowhere.png")  # as of data that were not fetched
    found = [str(path.relative_to(tmp_path)) for path in pictures_below(tmp_path)]
    assert found == ["0.png", "a/1.tiff", "a/3.bmp", "a/4.png", "b/c/2.JPG"]
