"""The tumour bed of a slide: the region of interest, else the convex hull of its tumour cells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.model.quantity import Estimator
from wsi_necrosis.quantify.cells import Cells
from wsi_necrosis.quantify.foci import CORNERS, TOUCHING
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount

BedSource = Literal["region", "hull"]
TUMOUR = (CellLabel.NON_VIABLE, CellLabel.VIABLE)


@dataclass(frozen=True)
class Bed:
    """Where the tumour bed comes from, and which cells (flat, bool) count in it."""

    source: BedSource
    cells: NDArray[np.bool_]


@dataclass(frozen=True)
class BedShares:
    """The rest of the tumour bed beside viable and non-viable tumour.

    Attributes
    ----------
    source : str
        `region`: the bed is the region of interest; `hull`: the convex hull of the tumour cells.
    viable_mm2, non_viable_mm2, non_tumour_mm2 : float
        Tissue with a class inside the bed, by the leading estimator; their sum is the denominator.
    percent_non_tumour : float or None
        Tissue that is no tumour, in percent of it; with percent viable and percent necrosis it makes 100.
    """

    source: BedSource
    viable_mm2: float
    non_viable_mm2: float
    non_tumour_mm2: float
    percent_non_tumour: float | None


def bed_of(scores: Scores, cells: Cells, settings: QuantifySettings) -> Bed:
    """Cells with a class inside the tumour bed.

    Where part of the plane lies outside a region of interest, the region is the bed. Else it is the convex hull of the
    cells whose likeliest class is tumour; groups of them that touch and hold less tissue than `bed_min_mm2` do not
    widen it. Every cell of tumour counts, inside the hull or not.

    Parameters
    ----------
    scores : Scores
        The slide's scores.
    cells : Cells
        The same cells, labelled.
    settings : QuantifySettings
        `bed_min_mm2`.
    """
    if scores.px[..., PixelCount.OUTSIDE_REGION].any():
        return Bed("region", cells.classed)
    from scipy import ndimage  # takes time, and is not needed to say that results are up to date

    shape = scores.state.shape
    tumour = np.isin(cells.label, TUMOUR).reshape(shape)
    numbers, count = ndimage.label(tumour, TOUCHING)
    px = np.bincount(numbers.ravel(), cells.tissue, count + 1)
    large = (px * float(scores.px_mm2) >= settings.bed_min_mm2) & (np.arange(count + 1) > 0)
    inside = _in_hull(large[numbers]) | tumour
    return Bed("hull", cells.classed & inside.ravel())


def bed_shares(bed: Bed, cells: Cells, pixel_mm2: float, estimator: Estimator) -> BedShares:
    """Tissue inside a bed, and the share of it that is no tumour.

    Parameters
    ----------
    bed : Bed
        Of these cells.
    cells : Cells
        Cells of a slide.
    pixel_mm2 : float
        Area of a mask pixel.
    estimator : {"soft", "by_class"}
        How tissue is split among classes.
    """
    non_tumour, non_viable, viable = cells.by(estimator)[bed.cells].sum(axis=0).tolist()
    total = non_tumour + non_viable + viable
    rest = 100 * non_tumour / total if total > 0 else None
    return BedShares(bed.source, viable * pixel_mm2, non_viable * pixel_mm2, non_tumour * pixel_mm2, rest)


def _in_hull(cells: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells (rows, cols) whose centre lies in the convex hull of these cells, corners included."""
    from scipy.spatial import ConvexHull, Delaunay  # as in `bed_of`

    where = np.argwhere(cells)
    if not len(where):
        return np.zeros_like(cells)
    corners = np.unique(np.add(where[:, None], CORNERS).reshape(-1, 2), axis=0).astype(np.float64)
    hull = Delaunay(corners[ConvexHull(corners).vertices])
    centres = np.moveaxis(np.indices(cells.shape), 0, -1) + 0.5
    return np.asarray(hull.find_simplex(centres) >= 0)
