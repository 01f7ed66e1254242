import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.slide_facts import info
from wsi_necrosis.errors import PixelSizeError, SettingsError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.run import GridSettings
from wsi_necrosis.tiling.grid import TileGrid, cell_pixels, lay_grid, working_px_l0
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


def settings(stride: float = 1.0, block: int = 8) -> GridSettings:
    return GridSettings(stride_tiles=stride, block_cells=block)


grids = st.builds(
    lambda x, y, width, height, px, tile, half, block: TileGrid(
        Box(x, y, width, height), (px, px * 1.5), Mpp(0.5, 0.75), tile * 4, tile * 4 // (1 + half), block
    ),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 200),
    st.integers(1, 200),
    st.floats(1, 4),
    st.integers(1, 16),
    st.integers(0, 1),
    st.integers(1, 9),
)


@given(grids)
def test_cells_partition_the_plane_and_blocks_the_cells(grid: TileGrid) -> None:
    rows, cols = grid.shape
    width, height = grid.cell_l0
    assert (rows - 1) * height < grid.plane.height_l0 <= rows * height + 1e-6
    assert (cols - 1) * width < grid.plane.width_l0 <= cols * width + 1e-6
    seen = np.zeros(grid.shape, int)
    for block in grid.blocks():
        seen[block.cells] += 1
    assert (seen == 1).all()


@given(grids)
def test_tiles_are_centred_on_their_cells_and_inside_their_block(grid: TileGrid) -> None:
    for block in grid.blocks():
        for row, col in ((block.row, block.col), (block.row + block.rows - 1, block.col + block.cols - 1)):
            tile, (width, height) = grid.tile_box(row, col), grid.cell_l0
            assert tile.x_l0 + tile.width_l0 / 2 == pytest.approx(grid.plane.x_l0 + (col + 0.5) * width)
            assert tile.y_l0 + tile.height_l0 / 2 == pytest.approx(grid.plane.y_l0 + (row + 0.5) * height)
            box = grid.block_box(block)
            assert tile.x_l0 >= box.x_l0 - 1e-6
            assert tile.right_l0 <= box.right_l0 + 1e-6
            assert tile.bottom_l0 <= box.bottom_l0 + 1e-6


@pytest.mark.parametrize(
    ("mpp", "downsamples", "expected"),
    [
        (Mpp(0.5, 0.5), (1.0, 4.0), (2.0, 2.0)),
        (Mpp(0.499, 0.499), (1.0,), (2.0, 2.0)),  # within 2 %: whole pixels are averaged
        (Mpp(0.25, 0.25), (1.0, 4.0, 16.0), (4.0, 4.0)),
        (Mpp(0.253, 0.253), (1.0, 4.0), (4.0, 4.0)),  # the level at 1.012 is read as it is
        (Mpp(0.5, 0.25), (1.0, 4.0), (2.0, 4.0)),
        (Mpp(1.05, 1.05), (1.0,), (1.0, 1.0)),  # slightly coarser: read as it is
    ],
)
def test_working_pixels_are_whole_where_that_is_near(
    mpp: Mpp, downsamples: tuple[float, ...], expected: tuple[float, float]
) -> None:
    assert working_px_l0(mpp, downsamples, 1.0) == expected


def test_other_pixel_sizes_are_met_exactly() -> None:
    x, y = working_px_l0(Mpp(0.2277, 0.2277), (1.0, 2.0, 4.0), 1.0)
    assert x == y == pytest.approx(1 / 0.2277)


@given(st.floats(0.1, 1.1), st.floats(0.1, 1.1))
def test_the_working_mpp_is_near_the_models(x: float, y: float) -> None:
    px = working_px_l0(Mpp(x, y), (1.0, 2.0, 4.0), 1.0)
    for slide, length in ((x, px[0]), (y, px[1])):
        assert length >= 1
        assert slide * length == pytest.approx(1.0, rel=0.02) or (length == 1 and slide > 1)


def test_slides_too_coarse_or_without_pixel_size_are_refused() -> None:
    with pytest.raises(PixelSizeError, match="coarser"):
        lay_grid(info(Mpp(1.2, 1.2)), 1.0, 224, settings())
    with pytest.raises(PixelSizeError, match="--mpp"):
        lay_grid(info(None), 1.0, 224, settings())


def test_a_stride_that_cannot_be_centred_is_refused() -> None:
    with pytest.raises(SettingsError, match="stride_tiles"):
        lay_grid(info(Mpp(0.5, 0.5)), 1.0, 224, settings(stride=1 / 3))
    assert lay_grid(info(Mpp(0.5, 0.5)), 1.0, 224, settings(stride=0.5)).stride_px == 112


@given(grids, st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_every_mask_pixel_belongs_to_one_cell(grid: TileGrid, kx: int, ky: int, seed: int) -> None:
    shape = -(-int(grid.plane.height_l0) // ky), -(-int(grid.plane.width_l0) // kx)
    kind = np.random.default_rng(seed).choice(np.array(list(MaskClass), np.uint8), size=shape)
    mask = TissueMask(kind, grid.plane, (kx, ky), Mpp(0.5 * kx, 0.75 * ky))
    px = cell_pixels(grid, mask)
    assert px.shape == (*grid.shape, 5)
    totals = px.sum(axis=(0, 1)).tolist()
    counts = np.bincount(kind.ravel(), minlength=len(MaskClass))
    assert totals == [
        counts[MaskClass.GLASS] + counts[MaskClass.SPECK],
        counts[MaskClass.TISSUE],
        counts[MaskClass.UNREADABLE],
        counts[MaskClass.OUTSIDE],
        counts[MaskClass.NOT_SCANNED],
    ]


def test_a_mask_pixel_goes_to_the_cell_of_its_centre() -> None:
    grid = TileGrid(Box(0, 0, 40, 20), (1.0, 1.0), Mpp(1, 1), 10, 10, 8)
    kind = np.zeros((5, 10), np.uint8)
    kind[2, 2] = MaskClass.TISSUE  # centre at (10, 10): the first pixel of cell (1, 1)
    px = cell_pixels(grid, TissueMask(kind, grid.plane, (4, 4), Mpp(4, 4)))
    assert np.argwhere(px[..., 1]).tolist() == [[1, 1]]
