from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.jpeg_slides import Kind, encoded, split, tissue_like
from wsi_necrosis.jpeg_tile import SHRINKS, SOI, decode_tile, head_of

SIZE = (96, 64)
TILE = tissue_like(64, 96)
STREAM = encoded(TILE, Kind(sampling="444"))


@pytest.mark.parametrize("colour", ["YCbCr", "RGB"])
def test_colours_are_what_the_file_says_of_them(colour):
    """An RGB stream without markers would pass for YCbCr, and comes out green."""
    tables, stream = split(encoded(TILE, Kind(sampling="444", colour=colour)))
    pixels = decode_tile(stream, head_of(tables), colour, SIZE)
    assert np.abs(pixels.astype(int) - TILE).mean() < 3
    other = {"YCbCr": "RGB", "RGB": "YCbCr"}[colour]
    assert np.abs(decode_tile(stream, head_of(tables), other, SIZE).astype(int) - TILE).mean() > 30


@pytest.mark.parametrize("shrink", SHRINKS)
def test_scaled_decoding_is_near_the_average(shrink):
    whole = decode_tile(STREAM, SOI, "YCbCr", SIZE)
    scaled = decode_tile(STREAM, SOI, "YCbCr", SIZE, shrink)
    mean = whole.reshape(64 // shrink, shrink, 96 // shrink, shrink, 3).mean((1, 3))
    assert scaled.shape == mean.shape
    assert np.abs(scaled - mean).mean() < 1.5
    assert np.abs((scaled - mean).mean((0, 1))).max() < 0.3  # and is no lighter or darker


@pytest.mark.parametrize("shrink", [1, *SHRINKS])
@pytest.mark.parametrize("size", [(64, 96), (96, 32), (32, 64), (192, 128)])
def test_a_tile_of_another_size_is_damaged(size, shrink):
    assert decode_tile(STREAM, SOI, "YCbCr", size, shrink) is None


@pytest.mark.parametrize("shrink", [1, *SHRINKS])
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
def test_a_damaged_tile_is_none(stream, shrink):
    assert decode_tile(stream, SOI, "YCbCr", SIZE, shrink) is None


@given(st.data())
def test_any_damage_gives_none_or_pixels_of_the_right_size(data):
    broken = bytearray(STREAM)
    for _ in range(data.draw(st.integers(1, 20))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    shrink = data.draw(st.sampled_from([1, *SHRINKS]))
    pixels = decode_tile(bytes(broken), SOI, "YCbCr", SIZE, shrink)
    assert pixels is None or pixels.shape == (64 // shrink, 96 // shrink, 3)


@pytest.mark.parametrize("shrink", [1, *SHRINKS])
def test_a_gap_between_start_and_end_is_damage(shrink):
    """As a lost sector leaves it; libjpeg alone would warn, and fill it with grey."""
    stream = encoded(tissue_like(256, 256), Kind(sampling="420"))
    middle = len(stream) // 2
    broken = stream[:middle] + bytes(512) + stream[middle + 512 :]
    assert decode_tile(stream, SOI, "YCbCr", (256, 256), shrink) is not None
    assert decode_tile(broken, SOI, "YCbCr", (256, 256), shrink) is None


@pytest.mark.parametrize("stream", [STREAM + bytes(100), SOI + b"\xff" + STREAM[2:]], ids=["behind", "fill"])
def test_what_may_stand_between_tiles_and_markers_does_no_harm(stream):
    expected = decode_tile(STREAM, SOI, "YCbCr", SIZE)
    assert np.array_equal(decode_tile(stream, SOI, "YCbCr", SIZE), expected)


@pytest.mark.parametrize("tables", [b"\xff\xd8", b"tables", b"\xff\xd8\xff\xdb\x00"])
def test_damaged_tables_are_none(tables):
    assert head_of(tables) is None
    assert head_of(None) == head_of(b"") == SOI
