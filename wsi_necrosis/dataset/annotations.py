"""QuPath's annotations, and which cells of a grid they label."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, TUMOUR_CLASSES
from wsi_necrosis.dataset.faults import plainly
from wsi_necrosis.dataset.labels import LABELS, MIXED_LABEL
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.tiling.grid import TileGrid

SKIPPED = ("Ignore", "Region")  # QuPath writes Ignore* and Region*
AREAS = frozenset({"Polygon", "MultiPolygon"})
QUPATH = {tumour_class.qupath: at for at, tumour_class in enumerate(TUMOUR_CLASSES)} | {"Other": NON_TUMOUR}
TITLED = {tumour_class.title: at for at, tumour_class in enumerate(TUMOUR_CLASSES)}
LABEL_OF: Mapping[str, str] = MappingProxyType(
    {name: CLASSES[at] for name, at in (QUPATH | TITLED | dict(LABELS)).items()} | {MIXED_LABEL: MIXED_LABEL}
)
EQUAL_COVER = 1e-9  # covers that differ by less are equal

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outline:
    """One annotated area: its class's name, empty without a class, and a polygon in QuPath's frame."""

    name: str
    polygon: Any


@dataclass(frozen=True)
class CellLabels:
    """Labels of the cells of a grid.

    Attributes
    ----------
    labels : mapping of (row, col) to str
        Cells that polygons of one label cover well enough, row by row.
    disputed : int
        Cells that two labels cover well enough and equally; they have no label.
    """

    labels: Mapping[tuple[int, int], str]
    disputed: int


def read_outlines(path: Path) -> tuple[Outline, ...]:
    """Annotated areas of a GeoJSON file: a FeatureCollection or a bare list of features.

    Other geometry, and objects that are not annotations in QuPath, are skipped with a line in the log; classes
    that start with Ignore or Region are skipped without one.

    Raises
    ------
    DatasetError
        It is missing, not GeoJSON, or holds an invalid polygon.
    """
    features = _features(path)
    try:
        areas = [feature for feature in features if _is_area(feature)]
        outlines = [Outline(_class_name(feature), _polygon(feature["geometry"])) for feature in areas]
    # a polygon without points or with too few, or a member of another type
    except (
        TypeError,
        ValueError,
        KeyError,
        AttributeError,
        IndexError,
        shapely.errors.ShapelyError,
    ) as error:
        raise DatasetError(f"{path} holds a feature that is no GeoJSON ({error}); export it again") from None
    if len(areas) < len(features):
        log.info("%s: %d features are no annotated areas and skipped", path, len(features) - len(areas))
    return tuple(outline for outline in outlines if not outline.name.startswith(SKIPPED))


def refuse_unknown_classes(outlines: Mapping[Path, Sequence[Outline]]) -> None:
    """Check the classes of all annotations, by file.

    Raises
    ------
    DatasetError
        One has no class or an unknown one; all are listed with counts.
    """
    faults = [
        f"{name!r} ({count} in {path.name})" if name else f"no class ({count} in {path.name})"
        for path, found in outlines.items()
        for name, count in sorted(Counter(outline.name for outline in found).items())
        if name not in LABEL_OF
    ]
    if faults:
        raise DatasetError(
            f"annotations have unknown classes: {plainly(faults)}; known are "
            f"{', '.join(map(repr, LABEL_OF))}, and what starts with Ignore is skipped"
        )


def label_cells(
    outlines: Sequence[Outline], origin_l0: tuple[int, int], grid: TileGrid, min_cover: float
) -> CellLabels:
    """Label the cells that polygons of one label cover well enough.

    Parameters
    ----------
    outlines : sequence of Outline
        Of known classes. Those of one label are united, so that an overlap counts once.
    origin_l0 : tuple of int
        Level-0 position (x, y) of QuPath's origin, which is that of the slide's bounds.
    grid : TileGrid
        The cells.
    min_cover : float
        Least share of a cell's area. Where two labels reach it, the larger share decides.
    """
    united = _united(outlines, origin_l0)
    covers = np.stack([np.zeros(grid.shape), *(cover(area, grid) for area in united.values())])
    best = covers.argmax(axis=0)
    most = covers.max(axis=0)
    enough = most >= min_cover - EQUAL_COVER
    disputed = enough & ((covers > most - EQUAL_COVER).sum(axis=0) > 1)
    names = ["", *united]
    cells = np.argwhere(enough & ~disputed).tolist()
    return CellLabels({(row, col): names[best[row, col]] for row, col in cells}, int(disputed.sum()))


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


def _features(path: Path) -> list[Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); export it from QuPath") from None
    except ValueError as error:  # of text and of JSON
        raise DatasetError(f"{path} is not valid JSON ({error}); export it from QuPath again") from None
    features = tree.get("features") if isinstance(tree, dict) else tree
    if not isinstance(features, list):
        raise DatasetError(f"{path} holds no list of features; export it from QuPath as GeoJSON")
    return features


def _is_area(feature: Any) -> bool:
    kind = (feature.get("properties") or {}).get("objectType", "annotation")
    return kind == "annotation" and (feature.get("geometry") or {}).get("type") in AREAS


def _class_name(feature: Any) -> str:
    """The class's name; newer versions of QuPath write it as a list of parts."""
    found = (feature.get("properties") or {}).get("classification") or {}
    return str(found.get("name") or ": ".join(found.get("names") or ()))


def _polygon(geometry: Any) -> Any:
    polygon = shape(geometry)
    return (
        polygon if polygon.is_valid else shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    )


def _united(outlines: Sequence[Outline], origin_l0: tuple[int, int]) -> dict[str, Any]:
    by_label: dict[str, list[Any]] = {}
    for outline in outlines:
        by_label.setdefault(LABEL_OF[outline.name], []).append(outline.polygon)
    return {
        label: shapely.transform(shapely.union_all(polygons), lambda points: points + origin_l0)
        for label, polygons in by_label.items()
    }
