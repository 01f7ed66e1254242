"""Annotations as QuPath writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Ring = list[list[float]]


def square(left: float, top: float, width: float, height: float | None = None) -> Ring:
    right, bottom = left + width, top + (width if height is None else height)
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def feature(
    name: str | None, ring: Ring, *, hole: Ring | None = None, kind: str = "annotation"
) -> dict[str, Any]:
    properties: dict[str, Any] = {"objectType": kind}
    if name is not None:
        properties["classification"] = {"name": name, "color": [200, 0, 0]}
    rings = [ring] if hole is None else [ring, hole]
    return {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": rings},
        "properties": properties,
    }


def geojson(path: Path, features: Sequence[Any], *, bare: bool = False) -> Path:
    tree = list(features) if bare else {"type": "FeatureCollection", "features": list(features)}
    path.write_text(json.dumps(tree), encoding="utf-8")
    return path
