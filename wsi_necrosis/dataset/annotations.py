"""Annotated areas, as QuPath exports them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, TUMOUR_CLASSES
from wsi_necrosis.dataset.faults import plainly
from wsi_necrosis.dataset.labels import LABELS, MIXED_LABEL
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.outside import ANNOTATIONS_MIB, OutsideError, brief, parse_json, read_text
from wsi_necrosis.slides.info import SlideInfo

IGNORED, REGION = "Ignore", "Region"  # QuPath writes Ignore* and Region*
AREAS = frozenset({"Polygon", "MultiPolygon", "GeometryCollection"})
DETECTIONS = frozenset(
    {"PathDetectionObject", "PathCellObject", "PathTileObject", "TMACoreObject"}
)  # QuPath 0.2
UM_REACH = 0.6  # of the part of a slide that outlines in um would lie in: how far they reach at least
# Of a polygon without points or with too few, or of a member of another type.
INVALID = (TypeError, ValueError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError)
QUPATH = {tumour_class.qupath: at for at, tumour_class in enumerate(TUMOUR_CLASSES)} | {"Other": NON_TUMOUR}
TITLED = {tumour_class.title: at for at, tumour_class in enumerate(TUMOUR_CLASSES)}
LABEL_OF: Mapping[str, str] = MappingProxyType(
    {name: CLASSES[at] for name, at in (QUPATH | TITLED | dict(LABELS)).items()} | {MIXED_LABEL: MIXED_LABEL}
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outline:
    """One annotated area: its class's name, empty without a class, and a polygon in QuPath's frame."""

    name: str
    polygon: Any

    @property
    def is_ignored(self) -> bool:
        """Whether its class is one of QuPath's `Ignore*`, which takes its area from all others."""
        return self.name.startswith(IGNORED)


def read_outlines(path: Path) -> tuple[Outline, ...]:
    """Annotated areas of a GeoJSON file, as `read_areas`, without those of classes that start with Region.

    Raises
    ------
    DatasetError
        As `read_areas`.
    """
    return tuple(outline for outline in read_areas(path) if not outline.name.startswith(REGION))


def read_areas(path: Path) -> tuple[Outline, ...]:
    """Annotated areas of a GeoJSON file, also packed as .gz: a FeatureCollection, a list of features, or one feature.

    The polygons of a GeometryCollection count. What is no annotated area (a line, a point, a detection) is left out
    with a warning in the log that counts it by kind.

    Raises
    ------
    DatasetError
        It cannot be read, is not GeoJSON, holds an invalid polygon, or holds features and no annotated area.
    """
    features = _features(path)
    left_out: Counter[str] = Counter()
    outlines = []
    for number, feature in enumerate(features, 1):
        try:
            reason = _not_an_area(feature)
            if reason:
                left_out[reason] += 1
            else:
                outlines.append(Outline(_class_name(feature), _polygon(feature["geometry"])))
        except INVALID as error:
            raise DatasetError(
                f"{path}: feature {number} is no GeoJSON ({brief(str(error))[1:-1]}); export it again"
            ) from None
    counts = plainly(f"{count} {reason}" for reason, count in sorted(left_out.items()))
    if left_out and not outlines:
        raise DatasetError(f"{path} holds no annotated area, but {counts}; export annotations from QuPath")
    if left_out:
        log.warning("%s: left out, as they are no annotated areas: %s", path, counts)
    return tuple(outlines)


def read_objects(path: Path) -> list[tuple[str, str]]:
    """Name and class of every annotation of a GeoJSON file that has a name; the class is empty where it has none.

    Raises
    ------
    DatasetError
        It cannot be read, or is not GeoJSON.
    """
    try:
        named = [(str(feature["properties"].get("name") or ""), feature) for feature in _features(path)]
        return [(name, _class_name(feature)) for name, feature in named if name]
    except INVALID as error:
        raise DatasetError(
            f"{path} is no GeoJSON of QuPath ({brief(str(error))[1:-1]}); export it again"
        ) from None


def refuse_off_slide(outlines: Sequence[Outline], info: SlideInfo, path: Path) -> None:
    """Check that annotated areas lie on their slide.

    Raises
    ------
    DatasetError
        Some miss the slide; they are counted.
    """
    left, top = info.bounds_l0
    plane = shapely.box(
        info.plane.x_l0 - left, info.plane.y_l0 - top, info.plane.right_l0 - left, info.plane.bottom_l0 - top
    )
    _, _, width, height = plane.bounds
    missing = [outline for outline in outlines if not outline.polygon.intersects(plane)]
    if missing:
        left, top, right, bottom = shapely.total_bounds([outline.polygon for outline in missing])
        raise DatasetError(
            f"{path}: {len(missing)} of {len(outlines)} outlines lie beside the slide, at x {left:.0f} to "
            f"{right:.0f}, y {top:.0f} to {bottom:.0f} of its {width:.0f} x {height:.0f} px; they may be of another "
            "slide, or not in level-0 pixels"
        )
    if outlines and info.mpp is not None and _look_like_um(outlines, info.mpp, (width, height)):
        log.warning(
            "%s: all outlines lie in the upper left %d x %d px, as they do when they are written in um instead of "
            "level-0 pixels; compare them with the slide",
            path, width * info.mpp.x, height * info.mpp.y,
        )  # fmt: skip


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
        if name not in LABEL_OF and not name.startswith(IGNORED)
    ]
    if faults:
        raise DatasetError(
            f"annotations have unknown classes: {plainly(faults)}; known are "
            f"{', '.join(map(repr, LABEL_OF))}, and what starts with Ignore takes its area from all"
        )


def _features(path: Path) -> list[Any]:
    try:
        tree = parse_json(read_text(path, ANNOTATIONS_MIB))
    except OutsideError as error:
        raise DatasetError(f"{path} {error}; export it from QuPath") from None
    if isinstance(tree, dict):
        tree = [tree] if tree.get("type") == "Feature" else tree.get("features")
    if not isinstance(tree, list):
        raise DatasetError(f"{path} holds no list of features; export it from QuPath as GeoJSON")
    return tree


def _not_an_area(feature: Any) -> str:
    """Why a feature is no annotated area; empty if it is one."""
    properties = feature.get("properties") or {}
    kind = properties.get("objectType") or (
        "detection" if str(feature.get("id")) in DETECTIONS else "annotation"
    )
    geometry = (feature.get("geometry") or {}).get("type")
    if kind != "annotation":
        return f"of the type {brief(kind)}"
    if geometry == "GeometryCollection" and not len(_parts(shape(feature["geometry"]))):
        return "collections without a polygon"
    return "" if geometry in AREAS else f"{brief(geometry)[1:-1]}s" if geometry else "without a geometry"


def _class_name(feature: Any) -> str:
    """The class's name; newer versions of QuPath write it as a list of parts, and other programs alone."""
    found = (feature.get("properties") or {}).get("classification") or {}
    return found if isinstance(found, str) else str(found.get("name") or ": ".join(found.get("names") or ()))


def _polygon(geometry: Any) -> Any:
    found = shapely.force_2d(shapely.union_all(_parts(shape(geometry))))
    if not np.isfinite(shapely.get_coordinates(found)).all():
        raise ValueError("a coordinate is no number")
    if found.is_empty:
        raise ValueError("its polygon encloses nothing")
    return found


def _parts(geometry: Any) -> list[Any]:
    """Polygons of a geometry, valid: lines that cross themselves enclose what lies within them."""
    parts = shapely.get_parts(geometry)
    if geometry.geom_type == "GeometryCollection":
        return [polygon for part in parts for polygon in _parts(part)]
    polygons = [part for part in parts if part.geom_type == "Polygon"]
    return list(shapely.make_valid(polygons, method="structure", keep_collapsed=False))


def _look_like_um(outlines: Sequence[Outline], mpp: Mpp, size: tuple[float, float]) -> bool:
    """Whether all outlines lie in the part of the slide in which they would lie in um, and reach far into it."""
    _, _, right, bottom = shapely.total_bounds([outline.polygon for outline in outlines])
    reach = (right / (size[0] * mpp.x), bottom / (size[1] * mpp.y))
    return max(mpp.x, mpp.y) < 1 and max(reach) <= 1 and min(reach) > UM_REACH
