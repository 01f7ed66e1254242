"""Viable foci: cells of viable tumour that touch, ranked, for a pathologist to look at first."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.geometry import Box
from wsi_necrosis.quantify.cells import Cells, cells_of
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import QuantifySettings

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a cell, as steps along rows and columns
FEW = 64  # corners
TOUCHING = np.ones((3, 3), np.uint8)  # sides and corners


@dataclass(frozen=True)
class Focus:
    """Cells of viable tumour that touch by a side or a corner.

    Attributes
    ----------
    rank : int
        1 for the first.
    number : int
        Of its cells in `numbered_foci`.
    cells : int
        Number of cells.
    area_mm2 : float
        Tissue of its cells.
    viable_mm2 : float
        The same, each cell times its probability of being viable: foci are ranked by this.
    mean_prob, max_prob : float
        Probability of being viable: mean over the tissue, and that of the most certain cell.
    extent_mm : float
        Greatest distance between two corners of its cells.
    centre_l0 : tuple of float
        Centre of the cell in it that is most certainly viable, (x, y) in level-0 pixels: where to look.
    box : Box
        Around its cells, in level-0 pixels.
    """

    rank: int
    number: int
    cells: int
    area_mm2: float
    viable_mm2: float
    mean_prob: float
    max_prob: float
    extent_mm: float
    centre_l0: tuple[float, float]
    box: Box


def foci_of(scores: Scores, settings: QuantifySettings) -> tuple[Focus, ...]:
    """Viable foci of a slide, those with the most viable tissue first.

    Parameters
    ----------
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        Which cells abstain; these belong to no focus.
    """
    from scipy import ndimage  # takes time, and is not needed to say that results are up to date

    cells = cells_of(scores, settings)
    shape = scores.state.shape
    label = cells.label.reshape(shape)
    tissue = cells.tissue.reshape(shape).astype(np.float64) * float(scores.px_mm2)
    prob = cells.prob.reshape(*shape, -1)[..., VIABLE]
    found = numbered_foci(label)
    foci = [
        _focus(
            at,
            np.add(np.argwhere(found[place] == at), [place[0].start, place[1].start]),
            tissue,
            prob,
            scores,
        )
        for at, place in enumerate(ndimage.find_objects(found), 1)
    ]
    foci.sort(key=lambda focus: (-focus.viable_mm2, -focus.max_prob, focus.box.y_l0, focus.box.x_l0))
    return tuple(replace(focus, rank=rank) for rank, focus in enumerate(foci, 1))


def numbered_foci(label: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The focus that each cell (rows, cols) belongs to: from 1, in the order of their first cells; 0 for none.

    Parameters
    ----------
    label : uint8 array (rows, cols)
        `scores.CellLabel` of each cell.
    """
    from scipy import ndimage  # as in `foci_of`

    numbers = np.zeros(label.shape, np.int32)
    ndimage.label(label == CellLabel.VIABLE, TOUCHING, output=numbers)
    return numbers


def in_small_foci(scores: Scores, cells: Cells, min_mm2: float) -> NDArray[np.bool_]:
    """Cells (flat) of viable foci with less tissue than `min_mm2`."""
    numbers = numbered_foci(cells.label.reshape(scores.state.shape)).ravel()
    area_mm2 = np.bincount(numbers, cells.tissue) * float(scores.px_mm2)
    return np.asarray((numbers > 0) & (area_mm2[numbers] < min_mm2))


def largest_extent_mm(foci: tuple[Focus, ...]) -> float:
    """Greatest extent of any viable focus in mm; 0 where there is none."""
    return max((focus.extent_mm for focus in foci), default=0.0)


def _focus(
    number: int,
    where: NDArray[np.int64],
    tissue: NDArray[np.float64],
    prob: NDArray[np.float64],
    scores: Scores,
) -> Focus:
    """The focus of that number, with these cells (row, col); not ranked yet."""
    rows, cols = where.T
    area, chance = tissue[rows, cols], prob[rows, cols]
    grid = scores.grid
    width, height = grid.cell_l0
    best = int(np.argmax(chance))
    left, top = grid.plane.x_l0 + width * cols.min(), grid.plane.y_l0 + height * rows.min()
    total = float(area.sum())
    return Focus(
        rank=0,
        number=number,
        cells=len(where),
        area_mm2=total,
        viable_mm2=float(area @ chance),
        mean_prob=float(area @ chance) / total if total > 0 else 0.0,
        max_prob=float(chance[best]),
        extent_mm=_extent(where, grid.stride_px * grid.mpp.x / 1e3, grid.stride_px * grid.mpp.y / 1e3),
        centre_l0=(
            float(grid.plane.x_l0 + width * (cols[best] + 0.5)),
            float(grid.plane.y_l0 + height * (rows[best] + 0.5)),
        ),
        box=Box(left, top, width * float(np.ptp(cols) + 1), height * float(np.ptp(rows) + 1)),
    )


def _extent(where: NDArray[np.int64], width_mm: float, height_mm: float) -> float:
    """Greatest distance between corners of cells: between corners of their convex hull."""
    from scipy.spatial import ConvexHull, distance  # as in `foci_of`

    corners = np.unique(np.add(where[:, None], CORNERS).reshape(-1, 2), axis=0)
    points = corners * [height_mm, width_mm]
    if len(points) > FEW:  # of a few, all distances are found faster than the hull
        points = points[ConvexHull(points).vertices]
    return float(distance.pdist(points).max())
