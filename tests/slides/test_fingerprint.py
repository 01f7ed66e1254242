from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from wsi_necrosis.errors import SlideError
from wsi_necrosis.slides.fingerprint import PIECE_BYTES, PIECES, slide_fingerprint

WHOLE = PIECES * PIECE_BYTES


@pytest.fixture(params=["classic", "big", "big-endian"])
def large_tiff(request, tmp_path) -> Path:
    """A pyramid in SubIFDs of 6 MB, above what is read whole."""
    path = tmp_path / "slide.tif"
    pixels = np.random.default_rng(0).integers(0, 256, (1536, 1280, 3), np.uint8)
    order = ">" if request.param == "big-endian" else "<"
    with tifffile.TiffWriter(path, bigtiff=request.param == "big", byteorder=order) as tiff:
        tiff.write(pixels, tile=(16, 16), photometric="rgb", description="x" * 500, subifds=1)
        tiff.write(pixels[::8, ::8], tile=(16, 16), photometric="rgb", subfiletype=1)
    assert path.stat().st_size > WHOLE
    return path


def test_a_file_that_has_gone_is_named(tmp_path):
    with pytest.raises(SlideError, match=r"gone\.tif cannot be read \(No such file"):
        slide_fingerprint([tmp_path / "gone.tif"])


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ 0xFF]))


def test_a_copy_elsewhere_and_later_has_the_same_fingerprint(large_tiff, tmp_path):
    before = slide_fingerprint([large_tiff])
    copy = tmp_path / "other" / "naïve name.tif"
    copy.parent.mkdir()
    shutil.copy(large_tiff, copy)
    os.utime(copy, (0, 0))
    assert slide_fingerprint([copy]) == before
    assert len(before) == 32
    assert int(before, 16) >= 0


def test_every_directory_and_value_counts(large_tiff):
    with tifffile.TiffFile(large_tiff) as tiff:
        main = tiff.pages[0]
        sub = main.pages[0]
        places = {
            "main directory": main.offset + 5,
            "sub directory": sub.offset + 5,
            "description": main.tags["ImageDescription"].valueoffset + 400,
            "tile offsets": main.tags["TileOffsets"].valueoffset + 4000,
            "sub byte counts": sub.tags["TileByteCounts"].valueoffset + 30,
        }
    before = slide_fingerprint([large_tiff])
    for place, position in places.items():
        flip(large_tiff, position)
        assert slide_fingerprint([large_tiff]) != before, place
        flip(large_tiff, position)
    assert slide_fingerprint([large_tiff]) == before


def test_pieces_reach_both_ends(tmp_path):
    path = tmp_path / "plain.bin"
    path.write_bytes(bytes(WHOLE * 3))
    before = slide_fingerprint([path])
    between = PIECE_BYTES + 100  # the gap after the first piece
    seen = []
    for position in (0, WHOLE * 3 - 1, between):
        flip(path, position)
        seen.append(slide_fingerprint([path]) != before)
        flip(path, position)
    assert seen == [True, True, False]


def test_small_files_count_whole(tmp_path):
    path = tmp_path / "small.bin"
    path.write_bytes(bytes(200_000))
    before = slide_fingerprint([path])
    flip(path, 123_456)
    assert slide_fingerprint([path]) != before


def test_companions_count_in_any_order(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    assert slide_fingerprint([first, second]) == slide_fingerprint([second, first])
    assert slide_fingerprint([first, second]) != slide_fingerprint([first])
    assert slide_fingerprint([first, first]) != slide_fingerprint([first])


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*", b"II+\0\x08\0\0\0", b"MM\0+\0\x08\0\0", b"text"])
def test_garbage_after_a_tiff_head_ends(tmp_path, start):
    path = tmp_path / "garbage.tif"
    noise = np.random.default_rng(1).integers(0, 256, WHOLE + 999, np.uint8).tobytes()
    path.write_bytes(start + noise)
    assert len(slide_fingerprint([path])) == 32


def test_directories_that_point_in_a_circle_end(tmp_path):
    path = tmp_path / "circle.tif"
    path.write_bytes(b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0" + bytes(WHOLE))
    assert len(slide_fingerprint([path])) == 32


@pytest.mark.real
def test_real_slides_differ(data_dir):
    slides = sorted(path for path in (data_dir / "slides").iterdir() if path.is_file())
    assert len({slide_fingerprint([path]) for path in slides}) == len(slides)
