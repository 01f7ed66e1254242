"""Read one block of a slide and cut its tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.black_fill import whiten_fill
from wsi_necrosis.slides.slide import Slide
from wsi_necrosis.tiling.foreground import foreground
from wsi_necrosis.tiling.grid import Block, TileGrid


@dataclass(frozen=True)
class TileBatch:
    """The tiles of a block that were asked for.

    Attributes
    ----------
    cells : int array (n, 2)
        Row and column of each tile's cell within the block.
    pixels : uint8 array (n, tile_px, tile_px, 3)
        RGB at the working mpp.
    foreground : bool array (n, tile_px, tile_px)
        Tissue pixels of the tile, for radiomics.
    readable : bool array (n,)
        False where any pixel of the tile could not be read; such a tile must not be scored.
    decoded_l0, needed_l0 : float
        Areas in level-0 pixels: of the stored tiles that were decoded, and of the union of the batch's
        tiles within the slide's plane.
    """

    cells: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    foreground: NDArray[np.bool_]
    readable: NDArray[np.bool_]
    decoded_l0: float = 0.0
    needed_l0: float = 0.0


def read_block(
    slide: Slide, grid: TileGrid, block: Block, wanted: NDArray[np.bool_], *, black_fill: bool = False
) -> TileBatch:
    """The wanted tiles of a block, cut from one read that decodes only the stored tiles they need.

    Parameters
    ----------
    slide : Slide
        An open slide.
    grid : TileGrid
        The slide's grid.
    block : Block
        The block to read.
    wanted : bool array (rows, cols)
        Cells of the block whose tiles are wanted; at least one.
    black_fill : bool
        Whether the slide's writer filled with black what was not scanned; that is white in the tiles then.

    Returns
    -------
    TileBatch
        Tiles in row-major order of their cells.
    """
    cells = np.argwhere(wanted)
    (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0) + 1
    part = Block(
        block.block_row, block.block_col, block.row + int(top), block.col + int(left), int(bottom - top),
        int(right - left),
    )  # fmt: skip
    boxes = [grid.tile_box(block.row + int(row), block.col + int(col)) for row, col in cells]
    region = slide.read(grid.block_box(part), grid.mpp, boxes)
    side, stride = grid.tile_px, grid.stride_px
    corners = (cells - (top, left)) * stride
    pixels = np.stack([region.rgb[y : y + side, x : x + side] for y, x in corners])
    if black_fill:
        pixels = whiten_fill(pixels)
    readable = np.array([not _meets(box, region.unreadable) for box in boxes], bool)
    needed_l0 = union_l0([part for part in (box.intersection(grid.plane) for box in boxes) if part])
    return TileBatch(cells, pixels, foreground(pixels), readable, region.decoded_l0, needed_l0)


def union_l0(boxes: Sequence[Box]) -> float:
    """Area in level-0 pixels that boxes cover together."""
    columns = np.unique([edge for box in boxes for edge in (box.x_l0, box.right_l0)])
    rows = np.unique([edge for box in boxes for edge in (box.y_l0, box.bottom_l0)])
    covered = np.zeros((max(0, len(rows) - 1), max(0, len(columns) - 1)), bool)
    for box in boxes:
        left, right = np.searchsorted(columns, (box.x_l0, box.right_l0))
        top, bottom = np.searchsorted(rows, (box.y_l0, box.bottom_l0))
        covered[top:bottom, left:right] = True
    return float(np.diff(rows) @ covered @ np.diff(columns))


def _meets(box: Box, others: tuple[Box, ...]) -> bool:
    return any(box.intersection(other) is not None for other in others)
