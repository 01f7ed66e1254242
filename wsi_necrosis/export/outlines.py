"""Outlines of regions of the tissue mask, as GeoJSON takes them; the mask is looked at block by block."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise, product
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import shapely
from numpy.typing import NDArray

from wsi_necrosis.files import atomic_write
from wsi_necrosis.tiling.grid import TileGrid, cell_edges
from wsi_necrosis.tiling.mask import TissueMask

Seams = tuple[NDArray[np.int64], NDArray[np.int64]]
PixelNumbers = Callable[[NDArray[np.uint8], Any], NDArray[np.int32]]

BLOCK_CELLS = 16  # side of a square of cells whose mask pixels are looked at together
COMPRESSION = 6  # level; 9 takes twice the time for a hundredth less
DECIMALS = 3  # of level-0 pixels; far below what any viewer draws


def parts_of_regions(
    grid: TileGrid, mask: TissueMask, n: int, numbers: PixelNumbers
) -> tuple[NDArray[np.int64], list[list[Any]], Seams]:
    """Mask pixels of the regions 1 to n, and outlines of their parts in mask pixels, of which `whole` makes one.

    The third is the rows and columns of the mask at which parts may meet, for `whole`.

    Parameters
    ----------
    grid : TileGrid
        The cells.
    mask : TissueMask
        What each pixel of the plane is; an array on disk that can be sliced is enough.
    n : int
        Number of regions.
    numbers : callable
        Takes a block of the mask, and an index that gives the cell of each pixel of it; gives the number of the region
        of each pixel, 0 for none.
    """
    edges = cell_edges(grid, mask)
    area, parts = np.zeros(n, np.int64), [list[Any]() for _ in range(n)]
    for rows, cols in product(*(range(0, len(each) - 1, BLOCK_CELLS) for each in edges)):
        (top, bottom, row), (left, right, col) = _side(edges[0], rows), _side(edges[1], cols)
        pixels = numbers(mask.kind[top:bottom, left:right], np.ix_(row, col))
        area += np.bincount(pixels.ravel(), minlength=n + 1)[1:]
        for region, outline in _united(pixels, top, left):
            parts[region - 1].append(outline)
    return area, parts, (edges[0][BLOCK_CELLS:-1:BLOCK_CELLS], edges[1][BLOCK_CELLS:-1:BLOCK_CELLS])


def _side(edges: NDArray[np.int64], first: int) -> tuple[int, int, NDArray[np.int64]]:
    """Along an axis the first and end pixel of a block that begins with a cell, and the cell of each pixel."""
    own = edges[first : first + BLOCK_CELLS + 1]
    return int(own[0]), int(own[-1]), np.repeat(np.arange(first, first + len(own) - 1), np.diff(own))


def whole(parts: list[Any], seams: Seams) -> Any:
    """The outline of a region of the outlines of its parts, one at least.

    Only what touches a seam between blocks is united, and without its holes, which stay as they are: whatever lies in
    a hole of a part is of the same block, and touches no seam.
    """
    pieces = shapely.get_parts(parts)
    bounds = shapely.bounds(pieces)
    touches = np.isin(bounds[:, [1, 3]], seams[0]).any(axis=1) | np.isin(bounds[:, [0, 2]], seams[1]).any(
        axis=1
    )
    if touches.sum() > 1:
        united = shapely.get_parts(_united_shells(pieces[touches]))
        pieces = np.concatenate([united, pieces[~touches]])
    outline = pieces[0] if len(pieces) == 1 else shapely.multipolygons(pieces)
    if not shapely.is_valid(
        outline
    ):  # where holes of two blocks meet at corners and part an area from the rest
        outline = shapely.union_all(parts)
    # points in the middle of a straight edge are redundant; the normal form begins at a corner
    return shapely.simplify(shapely.normalize(outline), 0)


def _united_shells(pieces: NDArray[Any]) -> Any:
    """Polygons united by their outer rings, with the holes that they had."""
    shells = shapely.get_parts(shapely.union_all(shapely.polygons(shapely.get_exterior_ring(pieces))))
    rings, owner = shapely.get_rings(pieces, return_index=True)
    is_hole = np.concatenate([[False], owner[1:] == owner[:-1]])
    holes = rings[is_hole]
    within = np.zeros(len(holes), int)
    if len(shells) > 1 and len(holes):
        inside = shapely.point_on_surface(shapely.polygons(holes))
        at, shell = shapely.STRtree(shells).query(inside, predicate="within")
        within[at] = shell
    order = np.argsort(within, kind="stable")
    of_shell = np.split(holes[order], np.searchsorted(within[order], np.arange(1, len(shells))))
    found = [
        shapely.Polygon(shell.exterior, [*shell.interiors, *each])
        for shell, each in zip(shells, of_shell, strict=True)
    ]
    return found[0] if len(found) == 1 else shapely.multipolygons(found)


def in_qupath(outline: Any, mask: TissueMask) -> Any:
    """An outline in mask pixels as Polygon or MultiPolygon in QuPath's frame.

    That is level-0 pixels minus bounds (the start of the plane), cut at the plane's edge. Outer rings are
    counter-clockwise as RFC 7946 requires (y upwards).
    """
    plane = mask.plane
    corner = np.array([plane.x_l0, plane.y_l0])
    end = np.array([plane.right_l0, plane.bottom_l0])
    bounds = corner.astype(int)

    def place(at: NDArray[Any]) -> NDArray[Any]:
        # only the last pixels can overhang, so cutting is a minimum
        return np.asarray(np.round(np.minimum(corner + at * mask.px_l0, end) - bounds, DECIMALS))

    pieces = shapely.normalize(shapely.get_parts(shapely.transform(outline, place)))
    wound = shapely.reverse(pieces)  # the normal form is clockwise
    return wound[0] if len(wound) == 1 else shapely.multipolygons(wound)


def write_features(path: Path, features: Iterable[tuple[dict[str, Any], Any]]) -> None:
    """Write a collection one feature after another, compressed if the file's name ends in `.gz`.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is replaced.
    features : iterable of (dict, geometry)
        What each feature holds beside its geometry, and that.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    with (
        atomic_write(path, durable=False) as partial,
        _opened(partial, compressed=path.suffix == ".gz") as file,
    ):
        file.write(b'{"type": "FeatureCollection", "features": [')
        for at, (facts, geometry) in enumerate(features):
            text = json.dumps({"type": "Feature", **facts}, allow_nan=False)
            file.write((f", {text[:-1]}" if at else text[:-1]).encode())
            # as text at once: outlines of a large slide as Python's numbers take many times the memory
            file.write(f', "geometry": {shapely.to_geojson(geometry)}}}'.encode())
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


def _united(pixels: NDArray[np.int32], top: int, left: int) -> Iterator[tuple[int, Any]]:
    """Yield each region in a block of the mask, and its outline: horizontal runs as boxes, united."""
    row, start, stop = _runs(pixels)
    region = pixels[row, start]
    order = np.argsort(region, kind="stable")
    boxes = shapely.box(left + start, top + row, left + stop, top + row + 1)[order]
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
