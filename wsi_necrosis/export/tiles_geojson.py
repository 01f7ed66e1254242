"""`tiles.geojson`: each cell as a tile object for QuPath."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import cell_class
from wsi_necrosis.settings.run import QuantifySettings

DECIMALS = 3  # of level-0 pixels
DIGITS = 4  # of a probability


def write_tiles_geojson(path: Path, scores: Scores, settings: QuantifySettings, fingerprint: str) -> None:
    """Write one tile object per scored or unreadable cell, in QuPath's frame; features are written one by one.

    Parameters
    ----------
    path : Path
        The file to write; one that exists is replaced.
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        Under which cells are labelled.
    fingerprint : str
        Of the slide: with row and column it makes the identifier of a tile, so that two runs give the same ones.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    with atomic_write(path, durable=False) as partial, partial.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for at, feature in enumerate(_features(scores, settings, fingerprint)):
            file.write((",\n" if at else "\n") + json.dumps(feature, allow_nan=False))
        file.write("\n]}\n")


def cell_corners(scores: Scores, row: int, col: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of a cell in level-0 pixels from the plane's corner, cut at the plane's end."""
    plane, (width, height) = scores.grid.plane, scores.grid.cell_l0
    right, bottom = min((col + 1) * width, plane.width_l0), min((row + 1) * height, plane.height_l0)
    return col * width, row * height, right, bottom


def _features(scores: Scores, settings: QuantifySettings, fingerprint: str) -> Iterator[dict[str, Any]]:
    namespace, label = uuid5(NAMESPACE_OID, fingerprint), cell_class(scores, settings)
    plane = scores.grid.plane
    offset = np.array([plane.x_l0 - int(plane.x_l0), plane.y_l0 - int(plane.y_l0)] * 2)  # as for regions
    for row, col in np.argwhere(label > 0).tolist():
        left, top, right, bottom = np.round(cell_corners(scores, row, col) + offset, DECIMALS).tolist()
        colour = PALETTE[int(label[row, col])]
        yield {
            "type": "Feature",
            "id": str(uuid5(namespace, f"tile:{row}.{col}")),
            "geometry": {
                "type": "Polygon",
                "coordinates": [[[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]],
            },
            "properties": {
                "objectType": "tile",
                "classification": {"name": colour.qupath, "color": list(colour.rgb)},
                "isLocked": False,
                "measurements": _measurements(scores, row, col),
            },
        }


def _measurements(scores: Scores, row: int, col: int) -> dict[str, float]:
    """The finite measurements only: QuPath refuses others."""
    values = (
        *scores.prob[row, col].tolist(),
        float(scores.uncertainty[row, col]),
        float(scores.ood[row, col]),
    )
    names = (*(f"p_{name}" for name in CLASSES), "uncertainty", "ood")
    return {
        name: round(value, DIGITS) for name, value in zip(names, values, strict=True) if np.isfinite(value)
    }
