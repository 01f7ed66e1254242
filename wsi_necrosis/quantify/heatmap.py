"""Stitch the cells of a slide into one picture over its plane.

Cells partition the plane, so each point has the probabilities of its own cell and nothing is averaged, even
where tiles overlap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel, cell_class
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount, TileGrid

CHANNELS = (*(f"p_{name}" for name in CLASSES), "uncertainty")
SMALLEST = 64  # cells on the longer side of the last pyramid level
# A single viable cell must stay visible.
WINNERS_OF_A_TIE = (
    CellLabel.VIABLE,
    CellLabel.NON_VIABLE,
    CellLabel.NON_TUMOUR,
    CellLabel.ABSTAINED,
    CellLabel.UNREADABLE,
)


@dataclass(frozen=True)
class Heatmap:
    """Probabilities, uncertainty and label of each cell over the slide's plane.

    Attributes
    ----------
    channels : float32 array (4, rows, cols)
        `CHANNELS`, each from 0 to 1; NaN outside scored tissue.
    label : uint8 array (rows, cols)
        `scores.CellLabel` of each cell.
    origin_um : tuple of float
        Top-left corner (x, y) of cell (0, 0) in micrometres from the corner of level 0.
    cell_um : tuple of float
        Sides (x, y) of a cell in micrometres.
    mpp : Mpp
        Size of a level-0 pixel.
    grid : TileGrid
        Positions of the cells in level-0 pixels.
    """

    channels: NDArray[np.float32]
    label: NDArray[np.uint8]
    origin_um: tuple[float, float]
    cell_um: tuple[float, float]
    mpp: Mpp
    grid: TileGrid

    @property
    def plane(self) -> Box:
        """The part of level 0 that the cells cover."""
        return self.grid.plane


@dataclass(frozen=True)
class Level:
    """One level of a pyramid: pixels of 2^k x 2^k cells, as in `Heatmap`."""

    channels: NDArray[np.float32]
    label: NDArray[np.uint8]


def stitch(scores: Scores, settings: QuantifySettings) -> Heatmap:
    """Probabilities and labels of all cells over the slide's plane.

    Parameters
    ----------
    scores : Scores
        The slide's scores; cells that were not scored stay empty.
    settings : QuantifySettings
        `max_uncertainty` and `max_ood`, above which a cell's label is "abstained"; its probabilities stay.

    Returns
    -------
    Heatmap
    """
    grid = scores.grid
    shown = (scores.state == CellState.SCORED) & (scores.px[..., PixelCount.TISSUE] > 0)
    stacked = np.concatenate([np.moveaxis(scores.prob, -1, 0), scores.uncertainty[None]])
    label = cell_class(scores, settings)
    mpp = Mpp(grid.mpp.x / grid.px_l0[0], grid.mpp.y / grid.px_l0[1])
    return Heatmap(
        channels=np.where(shown, stacked, np.nan).astype(np.float32),
        label=np.where(shown | (scores.state == CellState.UNREADABLE), label, 0).astype(np.uint8),
        origin_um=(grid.plane.x_l0 * mpp.x, grid.plane.y_l0 * mpp.y),
        cell_um=(grid.stride_px * grid.mpp.x, grid.stride_px * grid.mpp.y),
        mpp=mpp,
        grid=grid,
    )


def pyramid(heatmap: Heatmap) -> list[Level]:
    """Levels of half the size each, from the cells themselves down to at most 64 cells a side.

    A pixel of level k is the mean of those of its 2^k x 2^k cells that hold scored tissue, and the most
    frequent label among those that have one; a tie goes to viable, then non-viable, non-tumour,
    abstained, unreadable, so that small viable foci stay visible. Odd edges are rounded up.

    Returns
    -------
    list of Level
        The first is the heatmap's own arrays.
    """
    n = _n_halvings(heatmap.label.shape)
    means = [_means(channel, n) for channel in heatmap.channels]  # one by one, to save memory
    coarser = zip(zip(*means, strict=True), _modes(heatmap.label, n), strict=True)
    return [Level(heatmap.channels, heatmap.label), *(Level(np.stack(mean), mode) for mean, mode in coarser)]


def _n_halvings(shape: tuple[int, ...]) -> int:
    side, n = max(shape), 0
    while side > SMALLEST:
        side, n = (side + 1) // 2, n + 1
    return n


def _means(channel: NDArray[np.float32], n: int) -> list[NDArray[np.float32]]:
    """The mean of the finite values, for each of n halvings."""
    known, found = np.isfinite(channel), []
    sums, counts = np.where(known, channel, 0)[None], known[None]
    for _ in range(n):
        sums, counts = _halved(sums, np.float64), _halved(counts, np.uint32)
        mean = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
        found.append(mean[0].astype(np.float32))
    return found


def _modes(label: NDArray[np.uint8], n: int) -> list[NDArray[np.uint8]]:
    """The most frequent label, for each of n halvings; the first of the greatest counts wins."""
    order, found = np.array(WINNERS_OF_A_TIE, np.uint8), []
    votes = np.stack([label == value for value in order])
    for _ in range(n):
        votes = _halved(votes, np.uint32)
        found.append(np.where(votes.any(axis=0), order[votes.argmax(axis=0)], 0).astype(np.uint8))
    return found


def _halved(array: NDArray[np.generic], dtype: DTypeLike) -> NDArray[Any]:
    """Add up 2 x 2 windows of the last two axes; an odd edge is filled with zeros."""
    _, rows, cols = array.shape
    even = np.pad(array, [(0, 0), (0, rows % 2), (0, cols % 2)])
    upper = np.add(even[:, ::2, ::2], even[:, ::2, 1::2], dtype=dtype)
    lower = np.add(even[:, 1::2, ::2], even[:, 1::2, 1::2], dtype=dtype)
    return np.asarray(upper + lower)
