from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.odd_slides import JPEG, set_tag, textured, write_levels
from wsi_necrosis.errors import ReadError, SlideError
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.tiff_check import check_tiff

TOP = textured(200, 300)


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("TileWidth", 65_520, "states tiles of 65520"),
        ("TileLength", 0, "damaged"),
        ("ImageLength", 60_000, "needs 4,690"),
        ("ImageWidth", 16, "names 20"),
    ],
)
def test_sizes_that_the_file_does_not_hold_are_refused(
    tmp_path: Path, tag: str, value: int, said: str
) -> None:
    path = set_tag(write_levels(tmp_path / "a.tiff", [TOP]), tag, value)
    with pytest.raises(SlideError, match=said):
        open_slide(path)


def test_bytes_beyond_the_end_are_refused(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tiff", [TOP])
    with tifffile.TiffFile(path) as tiff:
        lengths = list(tiff.pages[0].databytecounts)
    set_tag(path, "TileByteCounts", [*lengths[:-1], 2**32 - 1])
    with pytest.raises(ReadError, match="where its directory names"):
        open_slide(path)


@pytest.mark.parametrize(
    ("pixels", "options", "said"),
    [
        (TOP.astype(np.uint16) * 257, {}, "3 samples of 16 bits"),
        (TOP[..., 0], {"photometric": "minisblack"}, "grey levels"),
        (TOP[..., 0], {"photometric": "miniswhite"}, "white is zero"),
        (np.concatenate([TOP, TOP[..., :1]], -1), {"photometric": "separated"}, "CMYK"),
    ],
)
def test_what_is_not_8_bit_rgb_is_refused_by_name(
    tmp_path: Path, pixels: np.ndarray, options: dict[str, object], said: str
) -> None:
    with pytest.raises(SlideError, match=said) as caught:
        open_slide(write_levels(tmp_path / "a.tiff", [pixels], mpp=[0.5], **options))
    assert "vips tiffsave" in str(caught.value)


def test_jpeg_of_other_kinds_is_refused_by_name(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tiff", [TOP], **JPEG)
    data = path.read_bytes()
    frame = data.index(b"\xff\xc0\x00\x11\x08")
    for at, value, said in ((frame + 1, 0xC3, "lossless JPEG"), (frame + 4, 12, "12-bit JPEG")):
        changed = bytearray(data)
        changed[at] = value
        path.write_bytes(changed)
        with pytest.raises(SlideError, match=said):
            open_slide(path)


def test_a_sound_file_states_its_pixel_sizes(tmp_path: Path) -> None:
    facts = check_tiff(write_levels(tmp_path / "a.tiff", [TOP, TOP[::2, ::2]]))
    assert facts.pixel_um[300, 200] == pytest.approx((0.5, 0.5))
    assert facts.pixel_um[150, 100] == pytest.approx((1.0, 1.0))
    assert facts.contradiction is None
    assert check_tiff(__file__ and Path(__file__)) is None


def test_a_small_ndpi_is_read_as_any_tiff(tmp_path: Path) -> None:
    """By its suffix it would hold more words in its directories, which not all writers add."""
    made = write_levels(tmp_path / "a.tiff", [TOP], **JPEG)
    path = made.rename(tmp_path / "a.ndpi")
    assert check_tiff(path) is not None
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - 200)
    with pytest.raises((ReadError, SlideError), match=r"a\.ndpi .*(it was cut|damaged)"):
        check_tiff(path)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_file_that_ends_before_its_directory_was_cut(tmp_path: Path, bigtiff: bool) -> None:
    """As most scanners write it behind the pixels."""
    path = tmp_path / "a.svs"
    tifffile.imwrite(path, TOP, bigtiff=bigtiff, byteorder=">" if bigtiff else "<", **JPEG)
    data = bytearray(path.read_bytes())
    place = slice(8, 16) if bigtiff else slice(4, 8)
    data[place] = (len(data) + 99).to_bytes(place.stop - place.start, "big" if bigtiff else "little")
    path.write_bytes(data)
    with pytest.raises(ReadError, match="it was cut, or is copied still"):
        open_slide(path)
