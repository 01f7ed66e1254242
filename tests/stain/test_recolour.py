from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.helpers.stained_pixels import RGB, mixed
from wsi_necrosis.stain.recolour import draw_jitter, jitter_stains, recolour, stained_share
from wsi_necrosis.stain.separation import FAINTEST_OD, optical_density, stain_matrix

SAME, NO_SHIFT = np.ones(3), np.zeros(3)
FACTORS = hnp.arrays(float, 3, elements=st.floats(0.8, 1.2))
OFFSETS = hnp.arrays(float, 3, elements=st.floats(-0.05, 0.05))


def separated(rgb: np.ndarray) -> np.ndarray:
    """Densities (..., 3) of the stains, by the fixed vectors."""
    return optical_density(rgb) @ np.linalg.inv(stain_matrix())


@given(RGB)
def test_a_jitter_of_nothing_gives_the_pixels_back(rgb: np.ndarray) -> None:
    np.testing.assert_array_equal(jitter_stains(rgb, SAME, NO_SHIFT), rgb)


def test_every_level_comes_back_beside_every_other() -> None:
    steps = np.arange(0, 256, dtype=np.uint8)
    for red in (0, 1, 2, 3, 100, 254, 255):
        rgb = np.stack(np.meshgrid(np.uint8(red), steps, steps, indexing="ij"), axis=-1)
        np.testing.assert_array_equal(recolour(rgb, np.eye(3)), rgb)


@given(RGB, FACTORS, OFFSETS)
def test_jitter_is_its_formula(rgb: np.ndarray, factors: np.ndarray, offsets: np.ndarray) -> None:
    shift = stained_share(rgb)[..., None] * offsets
    density = (separated(rgb) * factors + shift) @ stain_matrix()
    expected = np.clip(256 * np.exp(-density) - 1, 0, 255)
    found = jitter_stains(rgb, factors, offsets)
    assert (found.dtype, found.shape) == (np.uint8, rgb.shape)
    np.testing.assert_allclose(found, expected, atol=0.52)  # half a level is rounding


@pytest.mark.parametrize("own", [0, 1])
def test_jitter_changes_the_stain_that_is_meant(own: int) -> None:
    pixels = mixed(stain_matrix()[:2])
    factors, offsets = SAME.copy(), NO_SHIFT.copy()
    factors[own], offsets[own] = 1.1, 0.02
    before, after = separated(pixels), separated(jitter_stains(pixels, factors, offsets))
    deep = stained_share(pixels) > 0.95
    change = (after - before)[deep].mean(axis=0)
    expected = NO_SHIFT.copy()
    expected[own] = 0.1 * before[deep, own].mean() + 0.02 * stained_share(pixels)[deep].mean()
    np.testing.assert_allclose(change, expected, atol=0.002)


@given(FACTORS, OFFSETS)
def test_jitter_leaves_glass_alone(factors: np.ndarray, offsets: np.ndarray) -> None:
    glass = np.array([[[255] * 3, [243] * 3]], np.uint8)
    change = jitter_stains(glass, factors, offsets).astype(int) - glass
    assert change[0, 0].tolist() == [0, 0, 0]
    assert np.abs(change).max() <= 6  # a fifth of its density


@given(RGB, FACTORS, OFFSETS)
def test_a_jittered_pixel_does_not_depend_on_its_neighbours(
    rgb: np.ndarray, factors: np.ndarray, offsets: np.ndarray
) -> None:
    together = jitter_stains(rgb, factors, offsets).reshape(-1, 3)
    for pixel, value in zip(rgb.reshape(-1, 3), together, strict=True):
        assert jitter_stains(pixel, factors, offsets).tolist() == value.tolist()


def test_the_stained_share_rises_smoothly_from_glass_to_tissue() -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    share = stained_share(greys)
    assert share[255] == 0
    assert share[243] < 0.02
    assert share[:190].min() > 0.9
    assert np.interp(FAINTEST_OD, -np.log((greys[::-1, 0] + 1.0) / 256), share[::-1]) == pytest.approx(
        0.5, abs=0.01
    )
    assert (np.diff(share) <= 0).all()
    assert stained_share(np.array([255, 200, 255], np.uint8)) == share[200]  # one dense channel is enough


@pytest.mark.parametrize("shift", [-0.05, 0.05])
def test_a_jitter_keeps_the_order_of_greys(shift: float) -> None:
    greys = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    assert (np.diff(recolour(greys, np.eye(3), np.full(3, shift)).astype(int), axis=0) >= 0).all()


def test_a_draw_keeps_to_its_range_and_to_its_seed() -> None:
    rng = np.random.default_rng(3)
    factors, offsets = (
        np.array(some) for some in zip(*(draw_jitter(rng, 0.1, 0.02) for _ in range(500)), strict=True)
    )
    assert factors.shape == offsets.shape == (500, 3)
    for draws, middle, reach in ((factors, 1, 0.1), (offsets, 0, 0.02)):
        assert np.abs(draws - middle).max() <= reach
        np.testing.assert_allclose(draws.mean(axis=0), middle, atol=reach / 10)
        np.testing.assert_allclose(draws.std(axis=0), reach / np.sqrt(3), rtol=0.1)
    again = draw_jitter(np.random.default_rng(3), 0.1, 0.02)
    assert (again[0].tolist(), again[1].tolist()) == (factors[0].tolist(), offsets[0].tolist())
    nothing = draw_jitter(rng, 0, 0)
    assert (nothing[0].tolist(), nothing[1].tolist()) == ([1, 1, 1], [0, 0, 0])


@pytest.mark.parametrize(("sigma", "offset"), [(-0.1, 0), (1, 0), (0, -0.1), (0, np.inf), (np.nan, 0)])
def test_a_draw_out_of_range_is_refused(sigma: float, offset: float) -> None:
    with pytest.raises(ValueError, match="sigma is from 0"):
        draw_jitter(np.random.default_rng(0), sigma, offset)


@pytest.mark.parametrize(
    ("pixels", "factors", "offsets", "message"),
    [
        (np.zeros((2, 2, 3)), SAME, NO_SHIFT, "uint8"),
        (np.zeros((2, 2, 3), np.uint8), np.ones(2), NO_SHIFT, "factors are three"),
        (np.zeros((2, 2, 3), np.uint8), SAME, np.array([0, np.nan, 0]), "offsets are three"),
    ],
)
def test_a_jitter_of_other_arrays_is_refused(
    pixels: np.ndarray, factors: np.ndarray, offsets: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        jitter_stains(pixels, factors, offsets)
