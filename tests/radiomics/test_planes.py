"""Planes of a tile: densities of stains and luminance, against their formulas and on colours that are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wsi_necrosis.radiomics.planes import split
from wsi_necrosis.stain.separation import EOSIN, HAEMATOXYLIN, optical_density, stain_matrix

STAINS = ("haematoxylin", "eosin", "residual")
ALL = (*STAINS, "grey", "luminance")
RGB = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6).map(lambda side: (*side, 3)))


def planes(rgb: np.ndarray) -> np.ndarray:
    """All planes of a tile (h, w, 3), or of one pixel (3,): (..., 5) in the order of `ALL`."""
    found = split(rgb if rgb.ndim == 3 else rgb[None, None], ALL)
    return np.stack([found[name] for name in ALL], axis=-1).reshape(*rgb.shape[:-1], len(ALL))


def painted(stain: tuple[float, float, float], density: float) -> np.ndarray:
    """One pixel under `density` of a stain, rounded to 8 bits."""
    vector = np.array(stain) / np.linalg.norm(stain)
    return np.clip(np.rint(256 * np.exp(-density * vector) - 1), 0, 255).astype(np.uint8)


def test_white_has_no_density_and_black_a_finite_one() -> None:
    assert planes(np.full(3, 255, np.uint8)).tolist() == [0, 0, 0, 0, 255]
    black = planes(np.zeros(3, np.uint8))
    assert black[3:].tolist() == pytest.approx([np.log(256), 0])


@given(RGB)
def test_stains_explain_the_density_completely(rgb: np.ndarray) -> None:
    found = planes(rgb)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., :3] @ stain_matrix(), optical_density(rgb), atol=1e-5)


@given(RGB)
def test_a_pixel_does_not_depend_on_its_neighbours(rgb: np.ndarray) -> None:
    together = planes(rgb).reshape(-1, len(ALL))
    for pixel, values in zip(rgb.reshape(-1, 3), together, strict=True):
        assert planes(pixel).tolist() == values.tolist()


@pytest.mark.parametrize(("stain", "own"), [(HAEMATOXYLIN, 0), (EOSIN, 1)])
@given(density=st.floats(0.1, 2.0))
def test_a_pure_stain_is_found_as_itself(stain: tuple[float, float, float], own: int, density: float) -> None:
    found = planes(painted(stain, density))[:3]
    expected = np.zeros(3)
    expected[own] = density
    # One of 256 steps of light is at most this much density in the darkest channel.
    rounding = 1.5 * np.exp(density) / 256
    np.testing.assert_allclose(found, expected, atol=rounding, err_msg=STAINS[own])


@given(st.integers(0, 255))
def test_grey_pixels_have_the_same_density_in_luminance_as_in_each_channel(level: int) -> None:
    pixel = np.full(3, level, np.uint8)
    grey, luminance = planes(pixel)[3:]
    assert grey == pytest.approx(optical_density(pixel)[0], abs=1e-6)
    assert luminance == level


def test_luminance_weighs_green_most() -> None:
    red, green, blue = (planes(np.where(np.arange(3) == k, 0, 255).astype(np.uint8))[3] for k in range(3))
    assert red == pytest.approx(-np.log((255 * 0.701 + 1) / 256), abs=1e-6)
    assert green > red > blue


def test_only_the_planes_that_are_wanted_come() -> None:
    tile = np.full((2, 2, 3), 90, np.uint8)
    assert set(split(tile, ["grey"])) == {"grey"}
    assert set(split(tile, ["eosin"])) == set(STAINS)
