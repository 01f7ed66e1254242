from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.stained_pixels import RGB, mixed
from wsi_necrosis.stain.recolour import stained_share
from wsi_necrosis.stain.separation import (
    EOSIN,
    HAEMATOXYLIN,
    STAINS,
    fit_stains,
    grey_density,
    optical_density,
    separate_stains,
    stain_matrix,
)


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
    for function in (optical_density, separate_stains, grey_density, stained_share):
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
    for function in (optical_density, separate_stains, grey_density, stained_share):
        with pytest.raises(ValueError, match=r"uint8 of shape \(\.\.\., 3\)"):
            function(pixels)


@pytest.mark.parametrize(
    "vectors",
    [np.array([HAEMATOXYLIN, [0.15, 0.9, 0.4]]), np.array([[0.5, 0.75, 0.43], [0.2, 0.93, 0.3]])],
)
def test_stains_of_a_slide_are_found(vectors: np.ndarray) -> None:
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = fit_stains(mixed(vectors))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1)
    degrees = np.degrees(np.arccos(np.clip((found[:2] * vectors).sum(axis=1), -1, 1)))
    assert degrees.max() < 3
    np.testing.assert_allclose(found[2] @ found[:2].T, 0, atol=1e-9)


@pytest.mark.parametrize(
    "pixels",
    [
        np.empty((0, 3), np.uint8),
        np.full((50, 3), (120, 60, 140), np.uint8),
        np.full((5000, 3), 250, np.uint8),
        np.full((5000, 3), (120, 60, 140), np.uint8),
    ],
    ids=["none", "few", "pale", "alike"],
)
def test_without_two_stains_the_fixed_ones_are_taken(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(fit_stains(pixels), stain_matrix())
