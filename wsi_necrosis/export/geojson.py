"""`regions.geojson`: connected regions of tissue of one class as annotations for QuPath."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, cast
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
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import PixelCount, cell_edges
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

Ring = list[list[float]]

BAND_CELLS = 16  # rows of cells whose mask pixels are looked at together
COMPRESSION = 6  # level; 9 takes twice the time for a hundredth less
DECIMALS = 3  # of level-0 pixels; far below what any viewer draws


@dataclass(frozen=True)
class _Regions:
    """Regions of one label each; arrays of one item per region.

    `label`, `first` (row, col of the first cell), `outlines` (of its parts, in mask pixels), `cells`, `area_mm2`, and
    `p_viable`, the mean weighted with tissue (NaN where nothing was scored).
    """

    label: NDArray[np.uint8]
    first: NDArray[np.int64]
    outlines: list[list[Any]]
    cells: NDArray[np.int64]
    area_mm2: NDArray[np.floating[Any]]
    p_viable: NDArray[np.floating[Any]]


def write_regions(path: Path, scores: Scores, heatmap: Heatmap, mask: TissueMask, fingerprint: str) -> None:
    """Write one annotation per region: the tissue of cells that share a label and an edge.

    Outlines follow the tissue mask and hold the very mask pixels that the ledger counts, so that the areas of a class
    add up to its term by class, and those of abstained and unreadable tissue to theirs. A region whose tissue lies in
    several pieces is a MultiPolygon. Coordinates are level-0 pixels with the slide's bounds subtracted, which is
    QuPath's frame.

    Parameters
    ----------
    path : Path
        The file to write, compressed if its name ends in `.gz`; one that exists is replaced.
    scores : Scores
        For the pixels in each cell.
    heatmap : Heatmap
        Labels and probabilities of the same cells.
    mask : TissueMask
        What each pixel of the plane is.
    fingerprint : str
        Of the slide: with class and first cell it makes the identifier of a region, so that two runs give
        the same ones.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    namespace = uuid5(NAMESPACE_OID, fingerprint)
    regions = _regions(scores, heatmap, mask)
    with (
        atomic_write(path, durable=False) as partial,
        _opened(partial, compressed=path.suffix == ".gz") as file,
    ):
        file.write(b'{"type": "FeatureCollection", "features": [')
        for at in range(len(regions.label)):
            outline = _whole(regions.outlines[at])
            regions.outlines[at].clear()  # so that not all are in memory twice
            feature = _feature(regions, at, _rings(_to_qupath(outline, mask)), namespace)
            # json.dump writes token by token in Python; dumps is many times faster
            file.write((b", " if at else b"") + json.dumps(feature, allow_nan=False).encode())
        file.write(b"]}")


@contextmanager
def _opened(path: Path, *, compressed: bool) -> Iterator[BinaryIO]:
    """A file to write to; a compressed one holds neither time nor name, so that equal contents are equal files."""
    with path.open("wb") as file:
        if not compressed:
            yield file
            return
        with gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as smaller:
            yield cast(BinaryIO, smaller)


def _regions(scores: Scores, heatmap: Heatmap, mask: TissueMask) -> _Regions:
    """The regions of all labels, one label after another, each in the order of its first cells."""
    cells = _regions_of_cells(scores, heatmap)
    known = [np.nonzero(each.ravel())[0] for each in cells]  # cells that a label has
    at, number = (
        np.concatenate(known),
        np.concatenate([each.ravel()[k] for each, k in zip(cells, known, strict=True)]),
    )
    _, first, index = np.unique(number, return_index=True, return_inverse=True)
    n = len(first)
    area, outlines = _outlines(cells, heatmap, mask, n)
    tissue = scores.px[..., PixelCount.TISSUE].ravel()[at].astype(np.float64)
    viable = np.nan_to_num(heatmap.channels[VIABLE].ravel()[at])
    weight, weighted = np.bincount(index, tissue, n), np.bincount(index, tissue * viable, n)
    labels = np.repeat(np.array(list(PALETTE), np.uint8), [len(k) for k in known])
    return _Regions(
        label=labels[first],
        first=np.stack(np.unravel_index(at[first], heatmap.label.shape), axis=-1),
        outlines=outlines,
        cells=np.bincount(index, minlength=n),
        area_mm2=area * scores.px_mm2,
        p_viable=np.divide(weighted, weight, out=np.full(n, np.nan), where=weight > 0),
    )


def _regions_of_cells(scores: Scores, heatmap: Heatmap) -> list[NDArray[np.int32]]:
    """For each label the number of the region of each of its cells, 0 for none; numbers are of all labels together.

    A cell has a label of its own and may hold unreadable pixels beside, which are a region of theirs.
    """
    found, n = [], 0
    for label in PALETTE:
        is_lost = label == CellLabel.UNREADABLE
        has = scores.px[..., PixelCount.UNREADABLE] > 0 if is_lost else heatmap.label == label
        regions = connected(has, connectivity=1, background=0).astype(np.int32)
        regions[has] += n
        found.append(regions)
        n = max(n, int(regions.max(initial=0)))
    return found


def _outlines(
    cells: list[NDArray[np.int32]], heatmap: Heatmap, mask: TissueMask, n: int
) -> tuple[NDArray[np.int64], list[list[Any]]]:
    """Mask pixels, and outlines of the parts, of the regions 1 to n; few rows of cells are looked at at a time."""
    row_edges, col_edges = cell_edges(heatmap.grid, mask)
    cols = np.repeat(np.arange(len(col_edges) - 1), np.diff(col_edges))
    area, pieces = np.zeros(n, np.int64), [list[Any]() for _ in range(n)]
    for top in range(0, len(row_edges) - 1, BAND_CELLS):
        edges = row_edges[top : top + BAND_CELLS + 1]
        rows = np.repeat(np.arange(top, top + len(edges) - 1), np.diff(edges))
        pixels = _region_of_pixels(cells, heatmap.label, mask.kind[edges[0] : edges[-1]], np.ix_(rows, cols))
        area += np.bincount(pixels.ravel(), minlength=n + 1)[1:]
        for region, outline in _united(pixels, int(edges[0])):
            pieces[region - 1].append(outline)
    return area, pieces


def _whole(pieces: list[Any]) -> Any:
    """The outline of a region of the outlines of its parts."""
    whole = shapely.union_all(pieces) if len(pieces) > 1 else pieces[0]
    # points in the middle of a straight edge are redundant; the normal form begins at a corner
    return shapely.simplify(shapely.normalize(whole), 0)


def _region_of_pixels(
    cells: list[NDArray[np.int32]], label: NDArray[np.uint8], kind: NDArray[np.uint8], of_cell: Any
) -> NDArray[np.int32]:
    """The number of the region of each pixel of some rows of the mask, 0 for none; `of_cell` indexes their cells."""
    tissue, pixels, label_of = kind == MaskClass.TISSUE, np.zeros(kind.shape, np.int32), label[of_cell]
    for each, regions in zip(PALETTE, cells, strict=True):
        inside = tissue & (label_of == each)
        if each == CellLabel.UNREADABLE:
            inside |= kind == MaskClass.UNREADABLE
        pixels[inside] = regions[of_cell][inside]
    return pixels


def _united(pixels: NDArray[np.int32], top: int) -> Iterator[tuple[int, Any]]:
    """Yield each region in some rows of the mask from `top` on, and its outline: horizontal runs as boxes, united."""
    row, start, stop = _runs(pixels)
    region = pixels[row, start]
    order = np.argsort(region, kind="stable")
    boxes = shapely.box(start, row + top, stop, row + top + 1)[order]
    numbers, edges = np.unique(region[order], return_index=True)
    for number, (first, end) in zip(numbers.tolist(), pairwise([*edges, len(boxes)]), strict=True):
        yield number, shapely.simplify(shapely.union_all(boxes[first:end]), 0)


def _runs(pixels: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, first and end column of the horizontal runs of one region number; number 0 is background."""
    change = np.ones((pixels.shape[0], pixels.shape[1] + 1), bool)
    change[:, 1:-1] = pixels[:, 1:] != pixels[:, :-1]
    row, edge = np.nonzero(change)
    same_row = row[1:] == row[:-1]
    row, start, stop = row[:-1][same_row], edge[:-1][same_row], edge[1:][same_row]
    inside = pixels[row, start] > 0
    return row[inside], start[inside], stop[inside]


def _to_qupath(outline: Any, mask: TissueMask) -> Any:
    """From mask pixels to level-0 pixels minus bounds (the start of the plane), cut at the plane's edge."""
    plane = mask.plane
    corner = np.array([plane.x_l0, plane.y_l0])
    end = np.array([plane.right_l0, plane.bottom_l0])
    bounds = corner.astype(int)

    def place(at: NDArray[Any]) -> NDArray[Any]:
        # only the last pixels can overhang, so cutting is a minimum
        return np.asarray(np.round(np.minimum(corner + at * mask.px_l0, end) - bounds, DECIMALS))

    return shapely.transform(outline, place)


def _feature(regions: _Regions, at: int, pieces: list[list[Ring]], namespace: UUID) -> dict[str, Any]:
    label = int(regions.label[at])
    colour = PALETTE[label]
    row, col = regions.first[at].tolist()
    area = float(regions.area_mm2[at])
    return {
        "type": "Feature",
        "id": str(uuid5(namespace, f"{colour.qupath}:{row}.{col}")),
        "geometry": _geometry(pieces),
        "properties": {
            "objectType": "annotation",
            "name": f"{colour.title}, {area:.3g} mm2",
            "classification": {"name": colour.qupath, "color": list(colour.rgb)},
            "isLocked": False,
            "measurements": _measurements(regions, at),
        },
    }


def _rings(outline: Any) -> list[list[Ring]]:
    """The closed rings of each piece of an outline, outer ones counter-clockwise as RFC 7946 requires (y upwards)."""
    pieces = shapely.get_parts(outline)
    wound = shapely.reverse(shapely.normalize(pieces))  # the normal form is clockwise
    rings, owner = shapely.get_rings(wound, return_index=True)
    points, ring = shapely.get_coordinates(rings, return_index=True)
    cuts = np.searchsorted(ring, np.arange(1, len(rings)))
    found: list[list[Ring]] = [[] for _ in pieces]
    for piece, part in zip(owner, np.split(points, cuts), strict=False):
        found[piece].append(part.tolist())
    return found


def _geometry(pieces: list[list[Ring]]) -> dict[str, Any]:
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _measurements(regions: _Regions, at: int) -> dict[str, float]:
    """The finite measurements only: QuPath refuses others."""
    found = {
        "Area mm^2": float(regions.area_mm2[at]),
        "Cells": float(regions.cells[at]),
        "Mean p viable": float(regions.p_viable[at]),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}
