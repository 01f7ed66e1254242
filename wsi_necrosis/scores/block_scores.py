"""Scores of cells, in memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.tiling.grid import PixelCount, TileGrid
from wsi_necrosis.tiling.quality import Measure


class CellState(IntEnum):
    """Whether a cell was scored, or why not.

    Cells of damaged stored tiles are unreadable, which is a fact; those of a block that could not be read or scored
    for another reason are failed until a later run scores them.
    """

    NOT_LOOKED = 0
    NO_TISSUE = 1
    SCORED = 2
    UNREADABLE = 3
    FAILED = 4


@dataclass(frozen=True)
class BlockScores:
    """Scores of the cells of one block; arrays of (rows, cols, ...) of the block.

    Attributes
    ----------
    prob : float32 array (rows, cols, 3)
        Probabilities in the order of `classes.CLASSES`, not calibrated; NaN where not scored.
    uncertainty : float32 array (rows, cols)
        Entropy over ln 3 of the probabilities calibrated by the model's temperature; NaN where not scored.
    ood : float32 array (rows, cols)
        Distance from the training tiles over the model's own limit; NaN where not scored.
    quality : float32 array (rows, cols, 5)
        How fit the cell's tile is to be scored, by `tiling.quality.Measure`; NaN where not scored, or where the model
        has nothing to compare with.
    px : uint32 array (rows, cols, 5)
        Mask pixels of the cell by `grid.PixelCount`.
    radiomics : float32 array (rows, cols, features)
        Features of the cell's tile in the order of the model's recipe; NaN where not scored.
    gate : float32 array (rows, cols, 2)
        Weights of the image and the radiomics branch; NaN where not scored, or where the model joins
        them without weights.
    state : uint8 array (rows, cols)
        `CellState` of the cell.
    """

    prob: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    ood: NDArray[np.float32]
    quality: NDArray[np.float32]
    px: NDArray[np.uint32]
    radiomics: NDArray[np.float32]
    gate: NDArray[np.float32]
    state: NDArray[np.uint8]


@dataclass(frozen=True)
class Scores:
    """Scores of every cell of a slide, in memory; arrays as in `BlockScores`.

    All tissue pixels of a complete store lie in scored cells; scored cells may hold background too.

    Attributes
    ----------
    grid : TileGrid
        Positions of the cells.
    px_mm2 : float
        Area of one mask pixel in mm2.
    """

    grid: TileGrid
    px_mm2: float
    prob: NDArray[np.float32]
    uncertainty: NDArray[np.float32]
    ood: NDArray[np.float32]
    quality: NDArray[np.float32]
    px: NDArray[np.uint32]
    state: NDArray[np.uint8]


def empty_block(px: NDArray[np.uint32], n_features: int) -> BlockScores:
    """A block (or a whole slide) in which nothing is scored; `px` says which cells hold tissue."""
    shape = px.shape[:2]

    def nans(*tail: int) -> NDArray[np.float32]:
        return np.full((*shape, *tail), np.nan, np.float32)

    state = np.where(px[..., PixelCount.TISSUE] > 0, CellState.NOT_LOOKED, CellState.NO_TISSUE).astype(
        np.uint8
    )
    quality = nans(len(Measure))
    return BlockScores(
        nans(len(CLASSES)), nans(), nans(), quality, px.copy(), nans(n_features), nans(2), state
    )


def failed_block(px: NDArray[np.uint32], n_features: int) -> BlockScores:
    """A block whose cells with tissue have failed; their mask pixels stay tissue."""
    found = empty_block(px, n_features)
    found.state[px[..., PixelCount.TISSUE] > 0] = CellState.FAILED
    return found
