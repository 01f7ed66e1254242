from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from tests.helpers.stained_pixels import RGB, mixed
from wsi_necrosis.stain.recolour import stained_share
from wsi_necrosis.stain.separation import HAEMATOXYLIN, fit_stains, optical_density, stain_matrix


def test_white_has_no_density_and_black_a_finite_one() -> None:
    white, black = np.full(3, 255, np.uint8), np.zeros(3, np.uint8)
    assert optical_density(white).tolist() == [0, 0, 0]
    assert optical_density(black) == pytest.approx(np.log(256))


@given(RGB)
def test_density_is_the_logarithm_of_the_transmitted_light(rgb: np.ndarray) -> None:
    density = optical_density(rgb)
    assert density.dtype == np.float32
    np.testing.assert_allclose(np.exp(-density.astype(np.float64)) * 256 - 1, rgb, atol=1e-3)


@given(RGB)
def test_a_pixel_does_not_depend_on_its_neighbours(rgb: np.ndarray) -> None:
    flat = rgb.reshape(-1, 3)
    for function in (optical_density, stained_share):
        together = function(rgb).reshape(len(flat), -1)
        for pixel, value in zip(flat, together, strict=True):
            assert np.atleast_1d(function(pixel)).tolist() == value.tolist()


@pytest.mark.parametrize("pixels", [np.zeros((2, 3), np.float32), np.zeros((3, 4), np.uint8)])
def test_other_arrays_are_refused(pixels: np.ndarray) -> None:
    for function in (optical_density, stained_share):
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
