import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.array_slide import MPP, ArraySlide
from wsi_necrosis.geometry import Box
from wsi_necrosis.tiling.blocks import read_block, union_l0
from wsi_necrosis.tiling.grid import Block, TileGrid


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (100, 150, 3), np.uint8)


def grid(stride: int) -> TileGrid:
    return TileGrid(Box(0, 0, 150, 100), (1.0, 1.0), MPP, 32, stride, 4)


@pytest.mark.parametrize("stride", [16, 32])
def test_tiles_are_the_pixels_around_their_cells(rgb: np.ndarray, stride: int) -> None:
    laid, slide = grid(stride), ArraySlide(rgb)
    block = list(laid.blocks())[-1]
    wanted = np.ones((block.rows, block.cols), bool)
    batch = read_block(slide, laid, block, wanted)
    padded = np.pad(rgb, ((64, 64), (64, 64), (0, 0)), constant_values=255)
    assert len(slide.reads) == 1
    assert batch.cells.tolist() == np.argwhere(wanted).tolist()
    for (row, col), tile in zip(batch.cells, batch.pixels, strict=True):
        box = laid.tile_box(block.row + row, block.col + col)
        top, left = int(box.y_l0) + 64, int(box.x_l0) + 64
        assert np.array_equal(tile, padded[top : top + 32, left : left + 32])
    assert batch.readable.all()
    assert batch.foreground.shape == batch.pixels.shape[:3]


def test_only_the_part_with_wanted_cells_is_read(rgb: np.ndarray) -> None:
    laid, slide = grid(32), ArraySlide(rgb)
    block = Block(0, 0, 0, 0, 4, 4)
    wanted = np.zeros((4, 4), bool)
    wanted[1, 2] = True
    batch = read_block(slide, laid, block, wanted)
    assert slide.reads == [laid.tile_box(1, 2)]
    assert np.array_equal(batch.pixels[0], rgb[32:64, 64:96])
    assert slide.needed == [laid.tile_box(1, 2)]


@pytest.mark.parametrize("stride", [32, 16])
def test_what_is_needed_is_the_union_of_tiles_within_the_plane(rgb, stride):
    laid = TileGrid(Box(0, 0, 150, 100), (1.0, 1.0), MPP, 32, stride, 20)
    block = next(laid.blocks())
    batch = read_block(ArraySlide(rgb), laid, block, np.ones((block.rows, block.cols), bool))
    assert (batch.decoded_l0, batch.needed_l0) == (7000, 150 * 100)


def test_areas_are_in_level_0_pixels(rgb):
    laid = TileGrid(Box(0, 0, 150, 100), (2.0, 2.5), MPP, 32, 32, 4)
    wanted = np.zeros((2, 3), bool)
    wanted[0, 2] = True  # columns 128 to 192 of 150, rows 0 to 80
    batch = read_block(ArraySlide(rgb), laid, Block(0, 0, 0, 0, 2, 3), wanted)
    assert (batch.decoded_l0, batch.needed_l0) == (7000, 22 * 80)


BOXES = st.builds(Box, *[st.integers(0, 30)] * 2, *[st.integers(1, 20)] * 2)


@given(st.lists(BOXES, max_size=6))
def test_area_of_a_union(boxes):
    plane = np.zeros((60, 60), bool)
    for box in boxes:
        plane[box.y_l0 : box.bottom_l0, box.x_l0 : box.right_l0] = True
    assert union_l0(boxes) == plane.sum()


def test_a_tile_that_meets_an_unreadable_box_is_marked(rgb: np.ndarray) -> None:
    laid = grid(32)
    slide = ArraySlide(rgb, (Box(31, 0, 2, 2),))
    batch = read_block(slide, laid, Block(0, 0, 0, 0, 2, 3), np.ones((2, 3), bool))
    assert batch.readable.tolist() == [False, False, True, True, True, True]
