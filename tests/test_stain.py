from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsi_necrosis.stain import (
    EOSIN,
    HAEMATOXYLIN,
    STAINS,
    grey_density,
    optical_density,
    separate_stains,
    stain_matrix,
)

RGB = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).map(lambda side: (*side, 3)))


def painted(stain: tuple[float, float, float], density: float) -> np.ndarray:
    """One pixel under `density` of a stain, rounded to 8 bits."""
    vector = np.array(stain) / np.linalg.norm(stain)
    return np.clip(np.rint(256 * np.exp(-density * vector) - 1), 0, 255).astype(np.uint8)


def test_white_has_no_density_and_black_a_finite_one() -> None:
    white, black = np.full(3, 255, np.uint8), np.zeros(3, np.uint8)
    assert optical_density(white).tolist() == [0, 0, 0]
    assert separate_stains(white).tolist() == [0, 0, 0]
    assert float(grey_density(white)) == 0
    assert optical_density(black) == pytest.approx(np.log(256))
    assert float(grey_density(black)) == pytest.approx(np.log(256))


@given(RGB)
def test_density_is_the_logarithm_of_the_transmitted_light(rgb: np.ndarray) -> None:
    density = optical_density(rgb)
    assert density.dtype == np.float32
    np.testing.assert_allclose(np.exp(-density.astype(np.float64)) * 256 - 1, rgb, atol=1e-3)


@given(RGB)
def test_stains_explain_the_density_completely(rgb: np.ndarray) -> None:
    stains = separate_stains(rgb)
    assert stains.dtype == np.float32
    np.testing.assert_allclose(stains @ stain_matrix(), optical_density(rgb), atol=1e-5)


@given(RGB)
def test_a_pixel_does_not_depend_on_its_neighbours(rgb: np.ndarray) -> None:
    flat = rgb.reshape(-1, 3)
    for function in (optical_density, separate_stains, grey_density):
        together = function(rgb).reshape(len(flat), -1)
        for pixel, value in zip(flat, together, strict=True):
            assert np.atleast_1d(function(pixel)).tolist() == value.tolist()


@pytest.mark.parametrize(("stain", "own"), [(HAEMATOXYLIN, 0), (EOSIN, 1)])
@given(density=st.floats(0.1, 2.0))
def test_a_pure_stain_is_found_as_itself(stain: tuple[float, float, float], own: int, density: float) -> None:
    found = separate_stains(painted(stain, density))
    expected = np.zeros(3)
    expected[own] = density
    # One of 256 steps of light is at most this much density in the darkest channel.
    rounding = 1.5 * np.exp(density) / 256
    np.testing.assert_allclose(found, expected, atol=rounding, err_msg=STAINS[own])


@given(st.integers(0, 255))
def test_grey_pixels_have_the_same_density_in_luminance_as_in_each_channel(level: int) -> None:
    pixel = np.full(3, level, np.uint8)
    assert float(grey_density(pixel)) == pytest.approx(float(optical_density(pixel)[0]), abs=1e-6)


def test_luminance_weighs_green_most() -> None:
    red, green, blue = (grey_density(np.where(np.arange(3) == k, 0, 255).astype(np.uint8)) for k in range(3))
    assert float(red) == pytest.approx(-np.log((255 * 0.701 + 1) / 256), abs=1e-6)
    assert green > red > blue


@pytest.mark.parametrize("pixels", [np.zeros((2, 3), np.float32), np.zeros((3, 4), np.uint8)])
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    for function in (optical_density, separate_stains, grey_density):
        with pytest.raises(ValueError, match=r"uint8 of shape \(\.\.\., 3\)"):
            function(pixels)
