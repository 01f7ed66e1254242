"""`regions.geojson`: connected regions of one class as annotations for QuPath."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np
import shapely
from numpy.typing import NDArray
from skimage.measure import label as connected

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.heatmap import Heatmap
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.tiling.grid import PixelCount, TileGrid

Ring = list[list[float]]

DECIMALS = 3  # of level-0 pixels; far below what any viewer draws


@dataclass(frozen=True)
class _Regions:
    """Connected regions in the order of their first cells; arrays of one item per region.

    `label` and `first` (row, col of the first cell), `polygons` in cells, `cells`, `tissue_mm2`, and
    `p_viable`, the mean weighted with tissue (NaN where nothing was scored).
    """

    label: NDArray[np.uint8]
    first: NDArray[np.int64]
    polygons: NDArray[Any]
    cells: NDArray[np.int64]
    tissue_mm2: NDArray[np.floating[Any]]
    p_viable: NDArray[np.floating[Any]]


def write_regions(path: Path, scores: Scores, heatmap: Heatmap, fingerprint: str) -> None:
    """Write one annotation per region of cells that share a class and an edge.

    Coordinates are level-0 pixels with the slide's bounds subtracted, which is QuPath's frame.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is replaced.
    scores : Scores
        For the tissue in each region.
    heatmap : Heatmap
        Labels and probabilities of the same cells.
    fingerprint : str
        Of the slide: with class and first cell it makes the identifier of a region, so that two runs give
        the same ones.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    namespace = uuid5(NAMESPACE_OID, fingerprint)
    regions = _regions(scores, heatmap)
    polygons = _to_qupath(regions.polygons, scores.grid)
    rings = _rings(polygons)
    features = [_feature(regions, at, rings[at], namespace) for at in range(len(polygons))]
    with atomic_write(path, durable=False) as partial, partial.open("w", encoding="utf-8") as file:
        # json.dump writes token by token in Python; dumps is many times faster
        file.write(json.dumps({"type": "FeatureCollection", "features": features}, allow_nan=False))


def _regions(scores: Scores, heatmap: Heatmap) -> _Regions:
    regions = connected(heatmap.label, connectivity=1, background=0)
    values, first, index = np.unique(regions, return_index=True, return_inverse=True)
    kept = values > 0
    tissue = scores.px[..., PixelCount.TISSUE].ravel().astype(np.float64)
    viable = np.nan_to_num(heatmap.channels[VIABLE].ravel())
    index = index.ravel()
    area = np.bincount(index, tissue, len(values))[kept]
    weighted = np.bincount(index, tissue * viable, len(values))[kept]
    return _Regions(
        label=heatmap.label.ravel()[first][kept],
        first=np.stack(np.unravel_index(first, regions.shape), axis=-1)[kept],
        polygons=_outlines(regions, values[kept]),
        cells=np.bincount(index, minlength=len(values))[kept],
        tissue_mm2=area * scores.px_mm2,
        p_viable=np.divide(weighted, area, out=np.full(len(area), np.nan), where=area > 0),
    )


def _outlines(regions: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[Any]:
    """Polygons, in cells, of the wanted regions: horizontal runs as boxes, united within a region."""
    row, start, stop = _runs(regions)
    region = regions[row, start]
    order = np.argsort(region, kind="stable")
    boxes = shapely.box(start, row, stop, row + 1)[order]
    edges = np.searchsorted(region[order], [*wanted, wanted[-1] + 1 if len(wanted) else 0])
    groups = [boxes[a:b] for a, b in pairwise(edges)]
    united = [group[0] if len(group) == 1 else shapely.union_all(group) for group in groups]
    # points in the middle of a straight edge are redundant
    return np.asarray(shapely.simplify(np.array(united, dtype=object), 0))


def _runs(regions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, first and end column of the horizontal runs of one region number; number 0 is background."""
    change = np.ones((regions.shape[0], regions.shape[1] + 1), bool)
    change[:, 1:-1] = regions[:, 1:] != regions[:, :-1]
    row, edge = np.nonzero(change)
    same_row = row[1:] == row[:-1]
    row, start, stop = row[:-1][same_row], edge[:-1][same_row], edge[1:][same_row]
    inside = regions[row, start] > 0
    return row[inside], start[inside], stop[inside]


def _to_qupath(polygons: NDArray[Any], grid: TileGrid) -> NDArray[Any]:
    """From cells to level-0 pixels minus bounds (the start of the plane), cut at the plane's edge."""
    plane = grid.plane
    corner = np.array([plane.x_l0, plane.y_l0])
    end = np.array([plane.right_l0, plane.bottom_l0])
    bounds = corner.astype(int)

    def place(at: NDArray[Any]) -> NDArray[Any]:
        # only the last grid line can overhang, so cutting is a minimum
        return np.asarray(np.round(np.minimum(corner + at * grid.cell_l0, end) - bounds, DECIMALS))

    return np.asarray(shapely.transform(polygons, place))


def _feature(regions: _Regions, at: int, rings: list[Ring], namespace: UUID) -> dict[str, Any]:
    label = int(regions.label[at])
    colour = PALETTE[label]
    row, col = regions.first[at].tolist()
    area = float(regions.tissue_mm2[at])
    return {
        "type": "Feature",
        "id": str(uuid5(namespace, f"{colour.qupath}:{row}.{col}")),
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": {
            "objectType": "annotation",
            "name": f"{colour.title}, {area:.3g} mm2",
            "classification": {"name": colour.qupath, "color": list(colour.rgb)},
            "isLocked": False,
            "measurements": _measurements(regions, at),
        },
    }


def _rings(polygons: NDArray[Any]) -> list[list[Ring]]:
    """The closed rings of each polygon, outer ones counter-clockwise as RFC 7946 requires (y upwards)."""
    wound = shapely.reverse(shapely.normalize(polygons))  # the normal form is clockwise
    rings, owner = shapely.get_rings(wound, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    cuts = np.searchsorted(ring, np.arange(1, len(rings)))
    found: list[list[Ring]] = [[] for _ in polygons]
    for polygon, part in zip(owner, np.split(points, cuts), strict=False):
        found[polygon].append(part.tolist())
    return found


def _measurements(regions: _Regions, at: int) -> dict[str, float]:
    """The finite measurements only: QuPath refuses others."""
    found = {
        "Tissue area mm^2": float(regions.tissue_mm2[at]),
        "Cells": float(regions.cells[at]),
        "Mean p viable": float(regions.p_viable[at]),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}
