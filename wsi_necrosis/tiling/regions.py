"""Areas that a person outlined on a slide, laid onto its tissue mask: the region of interest, and the tissue itself."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.tiling.mask import MaskClass, TissueMask

LOST = (MaskClass.UNREADABLE, MaskClass.NOT_SCANNED)  # whatever outlines say


@dataclass(frozen=True)
class Region:
    """An outlined area: a polygon in level-0 pixels with the slide's bounds subtracted, which is QuPath's frame."""

    polygon: Any

    @property
    def digest(self) -> str:
        """SHA-256 of its outline, as 32 hexadecimal digits; the same for the same area drawn in another order."""
        import shapely  # takes time, and most slides have no outlines

        return hashlib.sha256(shapely.to_wkb(shapely.normalize(self.polygon))).hexdigest()[:32]


@dataclass(frozen=True)
class Regions:
    """What a person outlined on a slide.

    Attributes
    ----------
    roi : Region or None
        Region of interest: nothing outside it is measured.
    tissue : Region or None
        The tissue, in place of what `find_tissue` finds.
    """

    roi: Region | None = None
    tissue: Region | None = None

    @property
    def facts(self) -> dict[str, str]:
        """Digests of those that are given, JSON-ready."""
        given = {"roi": self.roi, "tissue": self.tissue}
        return {name: region.digest for name, region in given.items() if region is not None}


def with_regions(mask: TissueMask, regions: Regions) -> TissueMask:
    """A tissue mask under what a person outlined; a pixel is inside an outline if its centre is.

    Parameters
    ----------
    mask : TissueMask
        As found, with what is unreadable or was not scanned.
    regions : Regions
        Outlines, of the same slide.
    """
    kind = mask.kind
    if regions.tissue is not None:
        drawn = np.where(inside(regions.tissue.polygon, mask), MaskClass.TISSUE, MaskClass.GLASS)
        kind = np.where(np.isin(kind, LOST), kind, drawn).astype(np.uint8)
    if regions.roi is not None:
        kind = np.where(inside(regions.roi.polygon, mask), kind, MaskClass.OUTSIDE).astype(np.uint8)
    return replace(mask, kind=kind)


def inside(polygon: Any, mask: TissueMask) -> NDArray[np.bool_]:
    """Mask pixels (h, w) whose centre lies in a polygon of QuPath's frame; holes are outside.

    Along each row of pixels the outline is crossed at some places; a centre is inside where it has an odd number of
    them to its left.

    Examples
    --------
    >>> import shapely
    >>> from wsi_necrosis.geometry import Box, Mpp
    >>> mask = TissueMask(np.zeros((2, 4), np.uint8), Box(0, 0, 32, 16), (8, 8), Mpp(4.0, 4.0))
    >>> inside(shapely.box(0, 0, 15, 16), mask).sum(axis=1).tolist()
    [2, 2]
    """
    import shapely  # as in `digest`

    height, width = mask.kind.shape
    crossed = np.zeros((height, width + 1), np.uint8)
    for ring in shapely.get_rings(shapely.get_parts(polygon)):
        x, y = shapely.get_coordinates(ring).T / np.array(mask.px_l0)[:, None]
        _cross(crossed, x - 0.5, y - 0.5)  # centres of pixels lie at whole numbers
    return np.asarray(np.bitwise_xor.accumulate(crossed, axis=1)[:, :-1].astype(bool))


def _cross(crossed: NDArray[np.uint8], x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    """Note where a closed line crosses each row: at the first pixel whose centre is not left of it."""
    height, width = crossed.shape[0], crossed.shape[1] - 1
    first, last = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
    start = np.clip(np.ceil(first), 0, height).astype(np.int64)
    count = np.maximum(np.clip(np.ceil(last), 0, height).astype(np.int64) - start, 0)
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + start[edge]
    slope = (x[1:] - x[:-1])[edge] / (y[1:] - y[:-1])[edge]
    at = x[:-1][edge] + (row - y[:-1][edge]) * slope
    col = np.clip(np.ceil(at), 0, width).astype(np.int64)
    np.bitwise_xor.at(crossed, (row, col), 1)
