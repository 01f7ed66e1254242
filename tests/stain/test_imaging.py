"""Focus, light and gamma."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.helpers.stained_pixels import RGB
from wsi_necrosis.stain.imaging import Light, defocus, draw_light, relight

GAINS = hnp.arrays(float, 3, elements=st.floats(0.5, 1.5))
STRENGTH = st.floats(0, 0.5)


def dot(side: int = 33) -> np.ndarray:
    """A white pixel amid black."""
    rgb = np.zeros((side, side, 3), np.uint8)
    rgb[side // 2, side // 2] = 255
    return rgb


def edge(side: int = 64) -> np.ndarray:
    """Black beside white."""
    return np.where(np.arange(side)[None, :, None] < side // 2, 0, np.full((side, side, 3), 255)).astype(
        np.uint8
    )


@given(RGB)
def test_nothing_changes_at_strength_zero(rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(relight(rgb, Light(np.ones(3), 1.0)), rgb)
    tile = rgb.reshape(1, -1, 3)
    np.testing.assert_array_equal(defocus(tile, 0, 1.0), tile)


@given(RGB, GAINS, st.floats(0.5, 2))
def test_light_is_its_formula(rgb: np.ndarray, gains: np.ndarray, gamma: float) -> None:
    found = relight(rgb, Light(gains, gamma))
    assert (found.dtype, found.shape) == (np.uint8, rgb.shape)
    np.testing.assert_allclose(found, 255 * np.minimum(gains * rgb / 255, 1) ** gamma, atol=0.51)


def test_gamma_keeps_black_and_white() -> None:
    ends = np.array([[[0] * 3, [255] * 3, [128] * 3]], np.uint8)
    darker = relight(ends, Light(np.ones(3), 1.25))[0, :, 0]
    lighter = relight(ends, Light(np.ones(3), 0.8))[0, :, 0]
    assert darker.tolist()[:2] == lighter.tolist()[:2] == [0, 255]
    assert darker[2] < 128 < lighter[2]


@pytest.mark.parametrize(("sigma_um", "mpp"), [(1.0, 0.5), (1.0, 1.0), (2.0, 0.25), (0.7, 0.5)])
def test_defocus_is_a_gaussian_in_micrometres(sigma_um: float, mpp: float) -> None:
    """An edge becomes the normal distribution of that standard deviation, at every pixel size."""
    found = defocus(edge(), sigma_um, mpp)[32, :, 0] / 255
    steps = np.diff(found)
    places = (np.arange(63) + 0.5 - 31.5) * mpp
    mean = (steps * places).sum()
    assert mean == pytest.approx(0, abs=0.02)
    spread = np.sqrt((steps * (places - mean) ** 2).sum())
    assert spread == pytest.approx(sigma_um, rel=0.02)


@given(st.floats(0.3, 3))
def test_defocus_keeps_light_and_symmetry(sigma: float) -> None:
    found = defocus(dot(), sigma, 1.0).astype(int)
    np.testing.assert_array_equal(found, found[::-1])
    np.testing.assert_array_equal(found, found.swapaxes(0, 1))
    flat = np.full((9, 9, 3), (200, 100, 50), np.uint8)
    np.testing.assert_array_equal(defocus(flat, sigma, 1.0), flat)


def test_tiles_do_not_run_into_each_other() -> None:
    tiles = np.stack([edge(16), 255 - edge(16)])
    found = defocus(tiles, 2.0, 1.0)
    np.testing.assert_array_equal(found, [defocus(tile, 2.0, 1.0) for tile in tiles])


@given(st.integers(0, 1000), STRENGTH, STRENGTH, STRENGTH)
def test_light_is_drawn_within_its_range(seed: int, brightness: float, balance: float, gamma: float) -> None:
    light = draw_light(np.random.default_rng(seed), brightness, balance, gamma)
    assert (light.gains >= (1 - brightness) * (1 - balance) - 1e-12).all()
    assert (light.gains <= (1 + brightness) * (1 + balance) + 1e-12).all()
    assert np.ptp(light.gains) <= 2 * balance * (1 + brightness) + 1e-12
    assert 1 / (1 + gamma) - 1e-12 <= light.gamma <= 1 + gamma + 1e-12
    again = draw_light(np.random.default_rng(seed), brightness, balance, gamma)
    np.testing.assert_array_equal(light.gains, again.gains)
    assert light.gamma == again.gamma


def test_each_strength_reaches_its_ends() -> None:
    rng = np.random.default_rng(1)
    drawn = [draw_light(rng, 0.2, 0, 0.25) for _ in range(500)]
    brightness = np.array([light.gains for light in drawn])
    np.testing.assert_array_equal(np.ptp(brightness, axis=1), 0)
    assert (brightness.min(), brightness.max()) == pytest.approx((0.8, 1.2), abs=0.01)
    exponents = [light.gamma for light in drawn]
    assert (min(exponents), max(exponents)) == pytest.approx((0.8, 1.25), abs=0.01)
    assert np.mean(np.log(exponents)) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("light", [Light(np.ones(2), 1.0), Light(np.zeros(3), 1.0), Light(np.ones(3), 0.0)])
def test_impossible_light_is_refused(light: Light) -> None:
    with pytest.raises(ValueError, match="above 0"):
        relight(dot(), light)


@pytest.mark.parametrize(("sigma_um", "mpp"), [(-1.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_impossible_defocus_is_refused(sigma_um: float, mpp: float) -> None:
    with pytest.raises(ValueError, match="0 or more and mpp above 0"):
        defocus(dot(), sigma_um, mpp)


@pytest.mark.parametrize("strengths", [(1.0, 0, 0), (0, -0.1, 0), (0, 0, -0.1), (0, 0, float("inf"))])
def test_impossible_strengths_are_refused(strengths: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="brightness and white_balance"):
        draw_light(np.random.default_rng(0), *strengths)


def test_wrong_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        relight(np.zeros((2, 2, 3)), Light(np.ones(3), 1.0))
    with pytest.raises(ValueError, match="uint8"):
        defocus(np.zeros((2, 2, 3)), 1.0, 1.0)
