from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.annotations import feature, geojson, square
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotations import (
    Outline,
    cover,
    label_cells,
    read_outlines,
    refuse_unknown_classes,
)
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import TileGrid

GRID = TileGrid(Box(100, 50, 40, 30), (1.0, 1.0), Mpp(1, 1), 10, 10, 1)  # 3 rows, 4 columns of 10 px


def area(name: str, left: float, top: float, width: float, height: float) -> Outline:
    return Outline(name, shapely.box(left, top, left + width, top + height))


@pytest.mark.parametrize("bare", [False, True])
def test_both_forms_of_geojson_are_read(tmp_path: Path, bare: bool) -> None:
    features = [
        feature("Tumor", square(0, 0, 10)),
        feature("Stroma", square(20, 0, 5), hole=square(21, 1, 2)),
    ]
    path = geojson(tmp_path / "a.geojson", features, bare=bare)
    found = read_outlines(path)
    assert [outline.name for outline in found] == ["Tumor", "Stroma"]
    assert [outline.polygon.area for outline in found] == [100, 21]


def test_ignored_classes_and_what_is_no_area_are_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    line = feature("Tumor", []) | {"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}
    cell = feature("Tumor", square(0, 0, 1), kind="cell")
    nothing = feature("Tumor", []) | {"geometry": None}
    skipped = [feature("Ignore*", square(0, 0, 1)), feature("Region*", square(0, 0, 1)), line, cell, nothing]
    path = geojson(tmp_path / "a.geojson", [*skipped, feature("Tumor", square(0, 0, 1))])
    assert len(read_outlines(path)) == 1
    assert "3 features are no annotated areas and skipped" in caplog.text


def test_a_class_of_parts_is_joined_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    features = [
        feature(None, square(0, 0, 1)),
        feature(None, square(0, 0, 1)),
        feature(None, square(0, 0, 1)),
    ]
    features[0]["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    features[1]["properties"]["classification"] = {"names": ["Tumor"]}
    found = read_outlines(geojson(tmp_path / "a.geojson", features))
    assert [outline.name for outline in found] == ["Tumor: Positive", "Tumor", ""]


def test_polygons_in_parts_and_crossing_lines_keep_their_area(tmp_path: Path) -> None:
    parts = feature("Tumor", []) | {
        "geometry": {"type": "MultiPolygon", "coordinates": [[square(0, 0, 2)], [square(5, 5, 3)]]}
    }
    crossing = feature("Tumor", [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]])
    spike = feature("Tumor", [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [-9, 0], [0, 0]])
    found = read_outlines(geojson(tmp_path / "a.geojson", [parts, crossing, spike]))
    assert [outline.polygon.area for outline in found] == [13, 8, 16]
    assert all(outline.polygon.is_valid for outline in found)
    assert all(outline.polygon.geom_type in {"Polygon", "MultiPolygon"} for outline in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ('"text"', "holds no list of features"),
        ('{"type": "Feature"}', "holds no list of features"),
        ("[1]", "no GeoJSON"),
        ('[{"geometry": {"type": "Polygon"}}]', "no GeoJSON"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]', "no GeoJSON"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [["a"]]}}]', "no GeoJSON"),
        ('[{"properties": [1]}]', "no GeoJSON"),
    ],
)
def test_files_that_are_no_geojson_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(DatasetError, match=rf"a\.geojson .*{message}"):
        read_outlines(tmp_path / "a.geojson")
    with pytest.raises(DatasetError, match=r"b\.geojson cannot be read \(No such file"):
        read_outlines(tmp_path / "b.geojson")


def test_unknown_classes_of_all_files_are_listed_with_counts() -> None:
    good = [
        area(name, 0, 0, 1, 1) for name in ("Tumor", "Other", "Viable tumour", "viable", "viable: non-viable")
    ]
    bad = [area(name, 0, 0, 1, 1) for name in ("tumor", "tumor", "")]
    refuse_unknown_classes({Path("a"): good, Path("b"): []})
    with pytest.raises(
        DatasetError, match=r"classes: no class \(1 in b\), 'tumor' \(2 in b\), 'Fat' \(1 in c\);"
    ):
        refuse_unknown_classes({Path("a"): good, Path("b"): bad, Path("c"): [area("Fat", 0, 0, 1, 1)]})


def labels(outlines: Sequence[Outline], min_cover: float = 0.75) -> dict[tuple[int, int], str]:
    return dict(label_cells(outlines, (100, 50), GRID, min_cover).labels)


def test_cells_are_labelled_where_one_label_covers_enough() -> None:
    assert labels([area("Tumor", 0, 0, 17.5, 10)]) == {(0, 0): "viable", (0, 1): "viable"}
    assert labels([area("Tumor", 0, 0, 17.4, 10)]) == {(0, 0): "viable"}
    assert labels([area("Tumor", 0, 0, 17.4, 10)], 1.0) == {(0, 0): "viable"}
    assert labels([]) == {}


def test_polygons_of_one_label_are_united_whatever_their_names() -> None:
    halves = [area("Stroma", 0, 0, 6, 10), area("Other", 4, 0, 6, 10)]
    assert labels(halves, 1.0) == {(0, 0): "non_tumour"}
    assert labels([area("Tumor", 0, 0, 6, 10)] * 2) == {}  # an overlap counts once


def test_the_label_that_covers_more_decides_and_equal_ones_do_not() -> None:
    most = [area("Tumor", 0, 0, 8, 10), area("Necrosis", 1, 0, 9, 10)]
    assert labels(most) == {(0, 0): "non_viable"}
    halves = [area("Tumor", 0, 0, 5, 10), area("Necrosis", 5, 0, 5, 10)]
    assert labels(halves, 0.51) == {}
    nested = [area("Necrosis", 0, 0, 30, 30), area("Tumor", 10, 10, 10, 10)]
    found = label_cells(nested, (100, 50), GRID, 0.75)
    assert found.disputed == 1
    assert set(found.labels.values()) == {"non_viable"}
    assert (1, 1) not in found.labels
    assert len(found.labels) == 8


def test_holes_are_not_covered() -> None:
    ring = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 20, 20))
    island = area("viable: non-viable", 10, 10, 10, 10)
    found = labels([Outline("Necrosis", ring), island])
    assert found[1, 1] == "viable: non-viable"
    assert len(found) == 9


BOXES = st.tuples(*[st.floats(80, 150)] * 2, *[st.floats(0.1, 40)] * 2)


@given(st.lists(BOXES, min_size=1, max_size=4))
def test_shares_agree_with_a_fine_raster(boxes: list[tuple[float, ...]]) -> None:
    snapped = [tuple(round(value * 4) / 4 for value in box) for box in boxes]
    union: Any = shapely.union_all([shapely.box(x, y, x + w, y + h) for x, y, w, h in snapped])
    raster = np.zeros((120, 160), bool)  # quarter pixels of the plane
    for x, y, w, h in snapped:
        left, top, right, bottom = (
            max(0, int(4 * value)) for value in (x - 100, y - 50, x + w - 100, y + h - 50)
        )
        raster[top:bottom, left:right] = True
    expected = raster.reshape(3, 40, 4, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(cover(union, GRID), expected, atol=1e-9)


def test_the_names_of_our_own_export_come_back_as_our_classes() -> None:
    for label, name in zip(
        (CellLabel.NON_TUMOUR, CellLabel.NON_VIABLE, CellLabel.VIABLE), CLASSES, strict=True
    ):
        assert labels([area(PALETTE[label].qupath, 0, 0, 10, 10)]) == {(0, 0): name}
