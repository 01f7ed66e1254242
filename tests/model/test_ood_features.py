from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from wsi_necrosis.model.ood import NUMBERS
from wsi_necrosis.model.ood_features import FLOOR_OD, describe
from wsi_necrosis.stain.separation import Pixels, optical_density

TURNS = st.tuples(st.integers(0, 3), st.booleans())


def noise(seed: int, n: int, height: int, width: int) -> Pixels:
    """Tiles of coloured noise with grains of several sizes."""
    rng = np.random.default_rng(seed)
    grain = np.stack(
        [
            ndimage.gaussian_filter(rng.normal(0, 40 * (at + 1), (height, width, 3)), (at, at, 0))
            for at in range(n)
        ]
    )
    return np.clip(rng.integers(60, 220, (n, 1, 1, 3)) + grain, 0, 255).astype(np.uint8)


@given(seed=st.integers(0, 1000), sides=st.tuples(st.integers(1, 4), st.integers(1, 4)), turn=TURNS)
def test_turns_and_mirrors_change_nothing(seed: int, sides: tuple[int, int], turn: tuple[int, bool]) -> None:
    tiles = noise(seed, 2, 8 * sides[0], 8 * sides[1])
    quarters, mirrored = turn
    turned = np.rot90(tiles, quarters, axes=(1, 2))
    turned = turned[:, :, ::-1] if mirrored else turned
    np.testing.assert_allclose(describe(turned), describe(tiles), atol=1e-4)


@given(seed=st.integers(0, 1000), start=st.integers(0, 4), stop=st.integers(5, 6))
def test_a_row_depends_on_its_tile_alone(seed: int, start: int, stop: int) -> None:
    tiles = noise(seed, 6, 24, 16)
    np.testing.assert_array_equal(describe(tiles[start:stop]), describe(tiles)[start:stop])


@given(extra=st.tuples(st.integers(0, 1), st.integers(0, 1)))
def test_the_last_of_an_odd_number_of_rows_and_columns_is_left_out(extra: tuple[int, int]) -> None:
    tiles = noise(1, 2, 16 + extra[0], 24 + extra[1])
    np.testing.assert_array_equal(describe(tiles), describe(tiles[:, :16, :24]))


def by_definition(tile: Pixels) -> np.ndarray:
    """The 6 numbers of a tile; means are float32, sums in double precision."""
    height, width = (side // 2 * 2 for side in tile.shape[:2])
    density = optical_density(tile[:height, :width])
    blocks = density[::2] + density[1::2]
    blocks = ((blocks[:, ::2] + blocks[:, 1::2]) / np.float32(4)).astype(np.float64)
    within = (density.astype(np.float64) ** 2).mean(axis=(0, 1)) - (blocks**2).mean(axis=(0, 1))
    return np.concatenate([blocks.mean(axis=(0, 1)), np.log(FLOOR_OD + np.sqrt(np.maximum(within, 0)))])


@given(seed=st.integers(0, 1000), sides=st.tuples(st.integers(8, 70), st.integers(8, 70)))
def test_one_pass_gives_what_the_definition_gives(seed: int, sides: tuple[int, int]) -> None:
    tiles = noise(seed, 2, *sides)
    np.testing.assert_allclose(describe(tiles), [by_definition(tile) for tile in tiles], rtol=1e-6)


def test_on_painted_tissue_too(painted: dict[str, Pixels]) -> None:
    tiles = np.concatenate(list(painted.values()))
    np.testing.assert_allclose(describe(tiles), [by_definition(tile) for tile in tiles], rtol=1e-6)


def test_no_tiles_have_no_rows() -> None:
    assert describe(np.empty((0, 16, 16, 3), np.uint8)).shape == (0, NUMBERS)


def test_a_flat_tile_is_its_density_and_no_spread() -> None:
    tile = np.full((1, 16, 16, 3), (200, 120, 160), np.uint8)
    found = describe(tile)[0]
    np.testing.assert_allclose(found[:3], optical_density(tile)[0, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(found[3:], np.log(FLOOR_OD), atol=0.1)


@pytest.mark.parametrize("side", [1, 2, 4, 8])
def test_a_spread_is_that_between_neighbours(side: int) -> None:
    """Squares, light and dark in turn, vary within 2 x 2 pixels where they are single pixels, and else do not."""
    squares = np.indices((32, 32)) // side
    tile = np.where(squares.sum(axis=0) % 2, 100, 200).astype(np.uint8)[None, ..., None].repeat(3, axis=3)
    half = np.ptp(optical_density(tile)) / 2 if side == 1 else 0
    np.testing.assert_allclose(describe(tile)[0, 3:], np.log(FLOOR_OD + half), atol=0.1)


def test_a_spread_is_the_standard_deviation_within_blocks() -> None:
    tile = noise(2, 1, 32, 40)
    density = optical_density(tile)[0].astype(np.float64)
    within = density.reshape(16, 2, 20, 2, 3).var(axis=(1, 3)).mean(axis=(0, 1))
    np.testing.assert_allclose(np.exp(describe(tile)[0, 3:]) - FLOOR_OD, np.sqrt(within), rtol=1e-4)
