import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import shapely
from shapely.geometry import shape

from wsi_necrosis.export.tiles_geojson import write_tiles_geojson
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import cell_class


def features(slide: Any, folder: Path) -> list[dict[str, Any]]:
    write_tiles_geojson(folder / "tiles.geojson", slide.scores, slide.settings, "f")
    found = json.loads((folder / "tiles.geojson").read_text(encoding="utf-8"))
    assert found["type"] == "FeatureCollection"
    return found["features"]


def test_tiles_are_as_qupath_takes_them(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = made_up()
    found = features(slide, tmp_path)
    label = cell_class(slide.scores, slide.settings)
    assert len(found) == np.count_nonzero(label)
    assert len({UUID(each["id"]) for each in found}) == len(found)
    colours = {colour.qupath: list(colour.rgb) for colour in PALETTE.values()}
    for each in found:
        facts = each["properties"]
        assert facts["objectType"] == "tile"
        assert facts["classification"]["color"] == colours[facts["classification"]["name"]]
        assert all(isinstance(value, float) for value in facts["measurements"].values())
        assert shape(each["geometry"]).is_valid


def test_tiles_partition_the_plane(made_up: Callable[..., Any], tmp_path: Path) -> None:
    """In the frame of the plane, cut at its end."""
    slide = made_up(fill="tissue")
    boxes = [shape(each["geometry"]) for each in features(slide, tmp_path)]
    plane = slide.scores.grid.plane
    assert sum(box.area for box in boxes) == pytest.approx(plane.width_l0 * plane.height_l0)
    assert shapely.union_all(boxes).bounds == pytest.approx((0, 0, plane.width_l0, plane.height_l0))


def test_nothing_found_is_an_empty_collection(made_up: Callable[..., Any], tmp_path: Path) -> None:
    assert features(made_up(fill="glass"), tmp_path) == []
