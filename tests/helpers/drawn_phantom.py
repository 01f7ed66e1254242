"""A phantom's truth as outlines that a pathologist would draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from tests.helpers.annotations import geojson
from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.slides.phantom import PhantomTruth

POINTS = 720  # of an outline


def polygon(truth: PhantomTruth, name: str) -> Any:
    """The outline of a shape in level-0 pixels."""
    shape = truth.shape(name)
    angle = np.linspace(0, 2 * np.pi, POINTS, endpoint=False)
    wavy = sum(
        wave * np.cos(turns * angle + phase)
        for turns, wave, phase in zip((2, 3), shape.waves, shape.phases, strict=True)
    )
    radius = shape.radius_um * (1 + wavy)
    x, y = shape.x_um + radius * np.cos(angle), shape.y_um + radius * np.sin(angle)
    return shapely.Polygon(np.stack([x / truth.mpp.x, y / truth.mpp.y], axis=-1))


def drawn(truth: PhantomTruth) -> list[tuple[str, Any]]:
    """QuPath's class and the visible area of each shape: later ones lie over earlier ones."""
    found: list[tuple[str, Any]] = []
    for shape in truth.shapes:
        outline = polygon(truth, shape.name)
        found = [(name, shapely.difference(area, outline)) for name, area in found]
        found.append((TUMOUR_CLASSES[CLASSES.index(shape.material)].qupath, outline))
    return found


def write_outlines(path: Path, areas: Sequence[tuple[str, Any]]) -> Path:
    """Areas with their classes as GeoJSON."""
    return geojson(
        path,
        [
            {
                "type": "Feature",
                "geometry": shapely.geometry.mapping(area),
                "properties": {"objectType": "annotation", "classification": {"name": name}},
            }
            for name, area in areas
        ],
    )
