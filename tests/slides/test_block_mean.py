from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.slides.block_mean import block_mean
from wsi_necrosis.slides.jpeg_index import MCU_PX
from wsi_necrosis.slides.jpeg_tiff_reader import SHRINKS
from wsi_necrosis.slides.resample import Span, average


@pytest.mark.parametrize("side", SHRINKS)
@given(st.data())
def test_means_are_those_of_any_average(side, data):
    rows, cols, seed = (data.draw(st.integers(*ends)) for ends in ((1, 20), (1, 20), (0, 99)))
    high = data.draw(st.sampled_from([2, 256]))  # of noise, and of halves that are to be rounded
    pixels = np.random.default_rng(seed).integers(0, high, (rows * side, cols * side, 3), np.uint8)
    across, down = (Span.along(0, side, count) for count in (cols, rows))
    np.testing.assert_array_equal(block_mean(pixels, side), average(pixels, across, down))


def test_the_brightest_pixels_do_not_overflow():
    white = np.full((MCU_PX, MCU_PX, 3), 255, np.uint8)
    assert (block_mean(white, MCU_PX) == 255).all()


@pytest.mark.parametrize("side", SHRINKS)
def test_stored_tiles_are_whole_numbers_of_squares(side):
    assert MCU_PX % side == 0
