"""Lay cells, tiles and blocks over the slide's plane; no pixel is read.

Cells are stride x stride and partition the plane from its top-left corner. The tile of a cell is
centred on it, so that it reaches (tile - stride) / 2 beyond it on each side; at the plane's edge it
overhangs into white and nothing is dropped. Square blocks of cells are the unit of work.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import PixelSizeError, SettingsError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.run import GridSettings
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

COARSEST = 1.10  # slide mpp over model mpp; beyond it pixels would have to be interpolated
SNAP = 0.02  # relative difference up to which the nearest whole reduction of a level is taken


class PixelCount(IntEnum):
    """What the mask pixels of a cell are; the last index of every `px` array."""

    BACKGROUND = 0
    TISSUE = 1
    UNREADABLE = 2
    OUTSIDE_REGION = 3
    NOT_SCANNED = 4


@dataclass(frozen=True)
class Block:
    """A square of cells: rows [row, row + rows), columns [col, col + cols)."""

    block_row: int
    block_col: int
    row: int
    col: int
    rows: int
    cols: int

    @property
    def name(self) -> str:
        """`r.c`, the name of its record and of its chunk in every score array."""
        return f"{self.block_row}.{self.block_col}"

    @property
    def cells(self) -> tuple[slice, slice]:
        """Index of its cells in an array of (rows, cols, ...)."""
        return slice(self.row, self.row + self.rows), slice(self.col, self.col + self.cols)


@dataclass(frozen=True)
class TileGrid:
    """Cells, tiles and blocks of one slide for one model.

    Attributes
    ----------
    plane : Box
        The part of level 0 that is measured; cell (0, 0) starts at its top-left corner.
    px_l0 : tuple of float
        Level-0 pixels per working pixel, (x, y).
    mpp : Mpp
        Size of a working pixel; within 2 % of the model's, or that of a slide up to 10 % coarser.
    tile_px, stride_px : int
        Sides of a tile and of a cell in working pixels.
    block_cells : int
        Cells on a side of a block.
    """

    plane: Box
    px_l0: tuple[float, float]
    mpp: Mpp
    tile_px: int
    stride_px: int
    block_cells: int

    @property
    def cell_l0(self) -> tuple[float, float]:
        """Sides (x, y) of a cell in level-0 pixels."""
        return self.stride_px * self.px_l0[0], self.stride_px * self.px_l0[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells; the last ones may overhang the plane."""
        width, height = self.cell_l0
        return _ceil(self.plane.height_l0 / height), _ceil(self.plane.width_l0 / width)

    @property
    def margin_px(self) -> int:
        """Working pixels by which a tile exceeds its cell on each side."""
        return (self.tile_px - self.stride_px) // 2

    def tile_box(self, row: int, col: int) -> Box:
        """Level-0 box of a cell's tile, not cut at the plane's edge."""
        top, left = row * self.stride_px - self.margin_px, col * self.stride_px - self.margin_px
        return self._box(top, left, self.tile_px, self.tile_px)

    def block_box(self, block: Block) -> Box:
        """Level-0 box that holds every tile of a block, not cut at the plane's edge."""
        margin = self.margin_px
        return self._box(
            block.row * self.stride_px - margin,
            block.col * self.stride_px - margin,
            block.rows * self.stride_px + 2 * margin,
            block.cols * self.stride_px + 2 * margin,
        )

    def blocks(self) -> Iterator[Block]:
        """All blocks, row by row; those at the edge hold fewer cells."""
        rows, cols = self.shape
        side = self.block_cells
        for row in range(0, rows, side):
            for col in range(0, cols, side):
                yield Block(row // side, col // side, row, col, min(side, rows - row), min(side, cols - col))

    def _box(self, top_px: int, left_px: int, height_px: int, width_px: int) -> Box:
        x, y = self.px_l0
        return Box(self.plane.x_l0 + left_px * x, self.plane.y_l0 + top_px * y, width_px * x, height_px * y)


def lay_grid(info: SlideInfo, model_mpp: float, tile_px: int, settings: GridSettings) -> TileGrid:
    """Grid for a model over a slide's plane.

    Parameters
    ----------
    info : SlideInfo
        The slide; its pixel size must be known.
    model_mpp : float
        Pixel size in um that the model was trained at.
    tile_px : int
        Side of the model's tile in working pixels.
    settings : GridSettings
        Stride and block size.

    Raises
    ------
    PixelSizeError
        The slide's pixel size is unknown, or more than 10 % coarser than the model's.
    SettingsError
        The stride is not a whole number of pixels with the tile centred on it.
    """
    stride_px = round(tile_px * settings.stride_tiles)
    exact = abs(stride_px - tile_px * settings.stride_tiles) < 1e-6
    if not exact or stride_px < 1 or (tile_px - stride_px) % 2:
        raise SettingsError(
            f"grid.stride_tiles {settings.stride_tiles:g} of a {tile_px} px tile cannot be centred on whole "
            "pixels; take 1.0 or 0.5"
        )
    mpp = info.known_mpp
    if max(mpp.x, mpp.y) > COARSEST * model_mpp:
        raise PixelSizeError(
            f"{info.path} has {mpp} um per pixel, coarser than the model's {model_mpp:g}; scan it at a higher "
            "magnification or choose a model for coarser pixels (--model)"
        )
    px_l0 = working_px_l0(mpp, info.downsamples, model_mpp)
    return TileGrid(info.plane, px_l0, mpp.scaled(*px_l0), tile_px, stride_px, settings.block_cells)


def working_px_l0(slide_mpp: Mpp, downsamples: tuple[float, ...], model_mpp: float) -> tuple[float, float]:
    """Level-0 pixels (x, y) per working pixel.

    Where a whole reduction of a pyramid level comes within 2 % of the model's pixel size it is
    taken, so that pixels are averages of whole pixels; a slide slightly coarser than the model is
    read as it is.
    """
    wanted = (max(1.0, model_mpp / slide_mpp.x), max(1.0, model_mpp / slide_mpp.y))
    nearest = max(level for level in downsamples if level <= min(wanted) * (1 + SNAP))
    x, y = (_snap(length / nearest) * nearest for length in wanted)
    return x, y


def _snap(ratio: float) -> float:
    whole = max(1, round(ratio))
    return float(whole) if abs(ratio / whole - 1) <= SNAP else ratio


def _ceil(ratio: float) -> int:
    """Round up, ignoring rounding errors of a division."""
    return max(1, math.ceil(ratio - 1e-9))


def cell_pixels(grid: TileGrid, mask: TissueMask) -> NDArray[np.uint32]:
    """Mask pixels of every cell, by what they hold; a pixel belongs to the cell that its centre is in.

    Parameters
    ----------
    grid : TileGrid
        Cells over the same plane as the mask.
    mask : TissueMask
        What each pixel of the plane is.

    Returns
    -------
    uint32 array (rows, cols, 5)
        By `PixelCount`; glass and specks are background. The sum over all cells is the number of mask pixels.
    """
    rows, cols = grid.shape
    row_edges, col_edges = cell_edges(grid, mask)
    counts = np.zeros((rows, cols, len(PixelCount)), np.uint32)
    for row in range(rows):
        band = mask.kind[row_edges[row] : row_edges[row + 1]]
        for term, kinds in _KINDS.items():
            column_sums = np.isin(band, kinds).sum(axis=0)
            running = np.concatenate([[0], np.cumsum(column_sums)])
            counts[row, :, term] = np.diff(running[col_edges])
    return counts


_KINDS = {
    PixelCount.BACKGROUND: (MaskClass.GLASS, MaskClass.SPECK),
    PixelCount.TISSUE: (MaskClass.TISSUE,),
    PixelCount.UNREADABLE: (MaskClass.UNREADABLE,),
    PixelCount.OUTSIDE_REGION: (MaskClass.OUTSIDE,),
    PixelCount.NOT_SCANNED: (MaskClass.NOT_SCANNED,),
}


def cell_edges(grid: TileGrid, mask: TissueMask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First mask row of each row of cells, and first mask column of each column; each ends with the mask's own end."""
    rows, cols = grid.shape
    width, height = grid.cell_l0
    return (
        _edges(mask.kind.shape[0], mask.px_l0[1], rows, height),
        _edges(mask.kind.shape[1], mask.px_l0[0], cols, width),
    )


def _edges(n_px: int, px_l0: int, n_cells: int, cell_l0: float) -> NDArray[np.int64]:
    """First mask pixel of each cell along an axis, and the end of the last one."""
    centres = (np.arange(n_px) + 0.5) * px_l0
    edges = np.searchsorted(centres, np.arange(n_cells + 1) * cell_l0)
    edges[-1] = n_px  # the last pixel may overhang the plane by half
    return edges
