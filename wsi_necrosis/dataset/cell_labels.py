"""Which cells of a grid annotated areas label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from wsi_necrosis.dataset.annotations import LABEL_OF, Outline
from wsi_necrosis.tiling.grid import TileGrid

EQUAL_COVER = 1e-9  # covers that differ by less are equal
# Share of an outline's area within another from which it is drawn inside it, as hands cross lines.
INSIDE = 0.9


@dataclass(frozen=True)
class CellLabels:
    """Labels of the cells of a grid.

    Attributes
    ----------
    labels : mapping of (row, col) to str
        Cells that areas of one label cover well enough, row by row.
    disputed : int
        Cells without a label because outlines of different labels cross there, or cover them equally.
    ignored : int
        Cells without a label because `Ignore*` outlines took their area away.
    """

    labels: Mapping[tuple[int, int], str]
    disputed: int
    ignored: int


def label_cells(
    outlines: Sequence[Outline], origin_l0: tuple[int, int], grid: TileGrid, min_cover: float
) -> CellLabels:
    """Label the cells that areas of one label cover well enough.

    An outline inside another takes its area from it, in whatever order they are drawn; `Ignore*` takes from all.
    Where outlines of two labels cross and neither lies inside the other, their common area has no label.

    Parameters
    ----------
    outlines : sequence of Outline
        Of known classes, or ignored. Areas of one label are united, so that an overlap counts once.
    origin_l0 : tuple of int
        Level-0 position (x, y) of QuPath's origin, which is that of the slide's bounds.
    grid : TileGrid
        The cells.
    min_cover : float
        Least share of a cell's area. Where two labels reach it, the larger share decides.
    """
    moved = [shapely.transform(outline.polygon, lambda points: points + origin_l0) for outline in outlines]
    labels = ["" if outline.is_ignored else LABEL_OF[outline.name] for outline in outlines]
    drawn = [(area, label) for area, label in zip(moved, labels, strict=True) if label]
    ignored = _union([area for area, label in zip(moved, labels, strict=True) if not label])
    settled, crossing = territories([area for area, _ in drawn], [label for _, label in drawn])
    found = _decide({label: area.difference(ignored) for label, area in settled.items()}, grid, min_cover)
    with_ignored = _decide(settled, grid, min_cover)
    crossed = _decide(crossing, grid, min_cover)
    names = ["", *settled]
    cells = np.argwhere(found > 0).tolist()
    return CellLabels(
        labels={(row, col): names[found[row, col]] for row, col in cells},
        disputed=int(((with_ignored < 0) | ((with_ignored == 0) & (crossed != 0))).sum()),
        ignored=int(((found == 0) & (with_ignored > 0)).sum()),
    )


def territories(areas: Sequence[Any], labels: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The area of each label after inner outlines took theirs from outer ones, and what was covered before crossing.

    Parameters
    ----------
    areas : sequence of shapely polygons
        As drawn.
    labels : sequence of str
        Label of each.

    Returns
    -------
    dict of str to polygon
        Area of each label, none in common.
    dict of str to polygon
        The same with what crossing outlines have in common, which both of them claim.
    """
    taken: list[list[Any]] = [[] for _ in areas]
    disputed: list[list[Any]] = [[] for _ in areas]
    inner = _inner_pairs(areas, labels)
    for one, other in _pairs(areas, labels):
        if (one, other) in inner and (other, one) not in inner:
            taken[other].append(areas[one])
        elif (other, one) not in inner or (one, other) in inner:
            disputed[other].append(areas[one])
            disputed[one].append(areas[other])
        else:
            taken[one].append(areas[other])
    claimed = [area.difference(_union(holes)) for area, holes in zip(areas, taken, strict=True)]
    kept = [area.difference(_union(cut)) for area, cut in zip(claimed, disputed, strict=True)]
    return _united(kept, labels), _united(claimed, labels)


def cover(area: Any, grid: TileGrid) -> NDArray[np.float64]:
    """Share of every cell that an area in level-0 pixels covers: float64 (rows, cols)."""
    rows, cols = grid.shape
    width, height = grid.cell_l0
    lefts = grid.plane.x_l0 + width * np.arange(cols)
    tops = grid.plane.y_l0 + height * np.arange(rows)
    boxes = shapely.box(lefts, tops[:, None], lefts + width, tops[:, None] + height)
    shapely.prepare(area)
    whole = shapely.covers(area, boxes)
    edge = shapely.intersects(area, boxes) & ~whole
    share: NDArray[np.float64] = whole.astype(np.float64)
    share[edge] = shapely.area(shapely.intersection(area, boxes[edge])) / (width * height)
    return share


def _decide(areas: Mapping[str, Any], grid: TileGrid, min_cover: float) -> NDArray[np.int64]:
    """Of each cell, 1 + the place of its label in `areas`; 0 where none covers enough, -1 where two do equally."""
    covers = np.stack([np.zeros(grid.shape), *(cover(area, grid) for area in areas.values())])
    most = covers.max(axis=0)
    enough = most >= min_cover - EQUAL_COVER
    tied = (covers > most - EQUAL_COVER).sum(axis=0) > 1
    return np.where(enough, np.where(tied, -1, covers.argmax(axis=0)), 0)


def _pairs(areas: Sequence[Any], labels: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Outlines of different labels that have an area in common, each pair once."""
    tree = shapely.STRtree(np.array(areas, dtype=object))
    for one, other in tree.query(np.array(areas, dtype=object), predicate="intersects").T.tolist():
        if one < other and labels[one] != labels[other] and areas[one].intersection(areas[other]).area > 0:
            yield one, other


def _inner_pairs(areas: Sequence[Any], labels: Sequence[str]) -> set[tuple[int, int]]:
    """Pairs (one, other) of which `one` is drawn inside `other`, or inside `other` and its neighbours of one label."""
    pairs = list(_pairs(areas, labels))
    both = pairs + [(other, one) for one, other in pairs]
    inner = {(one, other) for one, other in both if _is_inside(areas[one], areas[other])}
    around: dict[tuple[int, str], list[int]] = defaultdict(list)
    for one, other in both:
        if (other, one) not in inner:
            around[one, labels[other]].append(other)
    for (one, _), others in around.items():
        if len(others) > 1 and _is_inside(areas[one], _union([areas[other] for other in others])):
            inner |= {(one, other) for other in others}
    return inner


def _is_inside(area: Any, other: Any) -> bool:
    return bool(area.intersection(other).area >= INSIDE * area.area)


def _union(areas: Sequence[Any]) -> Any:
    return shapely.union_all(np.array(areas, dtype=object))


def _united(areas: Sequence[Any], labels: Sequence[str]) -> dict[str, Any]:
    by_label: dict[str, list[Any]] = defaultdict(list)
    for area, label in zip(areas, labels, strict=True):
        by_label[label].append(area)
    return {label: _union(found) for label, found in by_label.items()}
