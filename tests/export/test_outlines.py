import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from wsi_necrosis.export import outlines
from wsi_necrosis.export.outlines import in_qupath, parts_of_regions, whole, write_features


@pytest.mark.parametrize("block", [1, 3, 100])
def test_outlines_are_the_same_whatever_the_size_of_a_block(
    made_up: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    slide = made_up(fill="tissue")
    grid = slide.scores.grid
    pixels = (np.random.default_rng(0).random(slide.layers.mask.kind.shape) < 0.7).astype(np.uint8)
    pixels[:, 150:] *= 2
    mask = replace(slide.layers.mask, kind=pixels)
    monkeypatch.setattr(outlines, "BLOCK_CELLS", block)
    area, parts, seams = parts_of_regions(grid, mask, 2, lambda kind, of_cell: kind.astype(np.int32))
    assert area.tolist() == np.bincount(pixels.ravel())[1:].tolist()
    found = [whole(each, seams) for each in parts]
    assert [each.area for each in found] == area.tolist()
    assert all(each.is_valid for each in found)
    for number, outline in enumerate(found, 1):
        rows, cols = np.nonzero(pixels == number)
        boxes = shapely.box(cols, rows, cols + 1, rows + 1)
        assert outline.equals(shapely.union_all(boxes))
    for piece in shapely.get_parts(in_qupath(found[0], mask)):
        assert piece.exterior.is_ccw


def test_features_are_written_one_by_one_and_compressed_on_request(tmp_path: Path) -> None:
    box = shapely.box(0, 0, 1.25, 2)
    features = [({"id": "ä"}, box), ({"id": "b"}, shapely.MultiPolygon([box, shapely.box(5, 5, 6, 6)]))]
    for name in ("a.geojson", "b.geojson.gz"):
        write_features(tmp_path / name, iter(features))
    plain = (tmp_path / "a.geojson").read_bytes()
    found = json.loads(plain)
    assert found["type"] == "FeatureCollection"
    for feature, (facts, geometry) in zip(found["features"], features, strict=True):
        assert (feature["type"], feature["id"]) == ("Feature", facts["id"])
        assert shapely.from_geojson(json.dumps(feature["geometry"])).equals(geometry)
    packed = (tmp_path / "b.geojson.gz").read_bytes()
    assert gzip.decompress(packed) == plain
    assert packed[4:8] == bytes(4)  # no time
