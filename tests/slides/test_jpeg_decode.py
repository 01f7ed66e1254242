from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.helpers.jpeg_slides import JpegKind, encoded, split, tissue_like
from wsi_necrosis.slides.jpeg_decode import SOI, decode_tile, head_of, whole_jpeg

SIZE = (96, 64)
TILE = tissue_like(64, 96)
STREAM = encoded(TILE, JpegKind(sampling="444"))


@pytest.mark.parametrize("colour", ["YCbCr", "RGB"])
def test_colours_are_what_the_file_says_of_them(colour):
    """An RGB stream without markers would pass for YCbCr, and comes out green."""
    tables, stream = split(encoded(TILE, JpegKind(sampling="444", colour=colour)))
    pixels = decode_tile(stream, head_of(tables), colour, SIZE)
    assert np.abs(pixels.astype(int) - TILE).mean() < 3
    other = {"YCbCr": "RGB", "RGB": "YCbCr"}[colour]
    assert np.abs(decode_tile(stream, head_of(tables), other, SIZE).astype(int) - TILE).mean() > 30


@pytest.mark.parametrize("size", [(64, 96), (96, 32), (32, 64), (192, 128)])
def test_a_tile_of_another_size_is_damaged(size):
    assert decode_tile(STREAM, SOI, "YCbCr", size) is None


@pytest.mark.parametrize(
    "stream",
    [
        b"",
        bytes(2000),
        STREAM[: len(STREAM) // 2],
        STREAM[:-2],
        STREAM[: len(STREAM) // 2] + bytes(len(STREAM) // 2),
        b"\x00" + STREAM[1:],
        SOI + STREAM[-2:],
        STREAM[:200] + STREAM[-2:],
    ],
    ids=["nothing", "zeros", "half", "no end", "half zeros", "no start", "no frame", "no pixels"],
)
def test_a_damaged_tile_is_none(stream):
    assert decode_tile(stream, SOI, "YCbCr", SIZE) is None


@given(st.data())
def test_any_damage_gives_none_or_pixels_of_the_right_size(data):
    broken = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 20))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    pixels = decode_tile(bytes(broken), SOI, "YCbCr", SIZE)
    assert pixels is None or pixels.shape == (64, 96, 3)


def test_a_gap_between_start_and_end_is_damage():
    """As a lost sector leaves it; libjpeg alone would warn, and fill it with grey."""
    stream = encoded(tissue_like(256, 256), JpegKind(sampling="420"))
    middle = len(stream) // 2
    broken = stream[:middle] + bytes(512) + stream[middle + 512 :]
    assert decode_tile(stream, SOI, "YCbCr", (256, 256)) is not None
    assert decode_tile(broken, SOI, "YCbCr", (256, 256)) is None


@pytest.mark.parametrize("stream", [STREAM + bytes(100), SOI + b"\xff" + STREAM[2:]], ids=["behind", "fill"])
def test_what_may_stand_between_tiles_and_markers_does_no_harm(stream):
    expected = decode_tile(STREAM, SOI, "YCbCr", SIZE)
    assert np.array_equal(decode_tile(stream, SOI, "YCbCr", SIZE), expected)


@pytest.mark.parametrize("tables", [b"\xff\xd8", b"tables", b"\xff\xd8\xff\xdb\x00"])
def test_damaged_tables_are_none(tables):
    assert head_of(tables) is None
    assert head_of(None) == head_of(b"") == SOI


@pytest.mark.parametrize("colour", ["YCbCr", "RGB"])
def test_a_tile_as_a_file_of_its_own_shows_the_same_pixels_to_any_decoder(colour):
    tables, stream = split(encoded(TILE, JpegKind(sampling="444", colour=colour)))
    whole = whole_jpeg(stream, head_of(tables), colour, SIZE)
    shown = np.asarray(Image.open(io.BytesIO(whole)).convert("RGB"))
    assert np.array_equal(shown, decode_tile(stream, head_of(tables), colour, SIZE))
    assert whole_jpeg(stream, head_of(tables), colour, (96, 32)) is None
