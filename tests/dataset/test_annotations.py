from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import shapely

from tests.helpers.annotations import feature, geojson, square
from wsi_necrosis.dataset.annotations import Outline, read_outlines, refuse_off_slide, refuse_unknown_classes
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo


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


def test_what_is_no_annotated_area_is_left_out_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = feature("Tumor", []) | {"geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}}
    cell = feature("Tumor", square(0, 0, 1), kind="cell")
    nothing = feature("Tumor", []) | {"geometry": None}
    skipped = [feature("Region*", square(0, 0, 1)), line, cell, cell, nothing]
    kept = [feature("Ignore*", square(0, 0, 1)), feature("Tumor", square(0, 0, 1))]
    found = read_outlines(geojson(tmp_path / "a.geojson", [*skipped, *kept]))
    assert [(outline.name, outline.is_ignored) for outline in found] == [("Ignore*", True), ("Tumor", False)]
    assert (
        "left out, as they are no annotated areas: 1 LineStrings, 2 of the type 'cell', 1 without"
        in caplog.text
    )
    with pytest.raises(DatasetError, match="holds no annotated area, but 2 of the type 'cell'"):
        read_outlines(geojson(tmp_path / "b.geojson", [cell, cell]))


def test_a_collection_one_feature_and_packed_files_are_read(tmp_path: Path) -> None:
    parts = [{"type": "Polygon", "coordinates": [square(0, 0, 2)]}, {"type": "Point", "coordinates": [9, 9]}]
    collection = feature("Tumor", []) | {"geometry": {"type": "GeometryCollection", "geometries": parts}}
    (tmp_path / "one.geojson").write_text(json.dumps(collection))
    (tmp_path / "one.geojson.gz").write_bytes(gzip.compress(json.dumps(collection).encode()))
    for name in ("one.geojson", "one.geojson.gz"):
        (found,) = read_outlines(tmp_path / name)
        assert (found.name, found.polygon.area) == ("Tumor", 4)
    points = collection | {"geometry": {"type": "GeometryCollection", "geometries": parts[1:]}}
    with pytest.raises(DatasetError, match="but 1 collections without a polygon"):
        read_outlines(geojson(tmp_path / "points.geojson", [points]))


INFO = SlideInfo(
    Path("a.svs"), (), "made up", "none", (4000, 3000), Box(0, 0, 4000, 3000), (0, 0), (1.0,), ((4000, 3000),),
    Mpp(0.5, 0.5), "metadata", None,
)  # fmt: skip


def test_outlines_beside_the_slide_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    inside, beside = area("Tumor", 0, 0, 3000, 2000), area("Tumor", 1e5, 0, 10, 10)
    refuse_off_slide([inside], INFO, Path("a.geojson"))
    refuse_off_slide([], INFO, Path("a.geojson"))
    with pytest.raises(
        DatasetError, match=r"1 of 2 outlines lie beside the slide, at x 100000 .* 4000 x 3000 px"
    ):
        refuse_off_slide([inside, beside], INFO, Path("a.geojson"))
    assert not caplog.text
    refuse_off_slide([area("Tumor", 100, 100, 1800, 1300)], INFO, Path("a.geojson"))
    assert "lie in the upper left 2000 x 1500 px, as they do when they are written in um" in caplog.text


def test_a_class_of_parts_is_joined_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    features = [
        feature(None, square(0, 0, 1)),
        feature(None, square(0, 0, 1)),
        feature(None, square(0, 0, 1)),
    ]
    features[0]["properties"]["classification"] = {"names": ["Tumor", "Positive"]}
    features[1]["properties"]["classification"] = {"names": ["Tumor"]}
    features.append(feature(None, square(0, 0, 1)))
    features[3]["properties"]["classification"] = "Tumor"  # of other programs
    found = read_outlines(geojson(tmp_path / "a.geojson", features))
    assert [outline.name for outline in found] == ["Tumor: Positive", "Tumor", "", "Tumor"]


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
        ('{"type": "Polygon"}', "holds no list of features"),
        ('{"type": "Feature"}', "but 1 without a geometry"),
        ("[" * 5000, "nested too deeply"),
        (
            '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [NaN, 1], [1, 1], [0, 0]]]}}]',
            "holds NaN",
        ),
        ('{"features": [], "features": [1]}', "gives 'features' twice"),
        ("[1]", "feature 1 is no GeoJSON"),
        ('[{"geometry": {"type": "Polygon"}}]', "feature 1 is no GeoJSON"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}}]', "feature 1 is no GeoJSON"),
        ('[{"geometry": {"type": "Polygon", "coordinates": [["a"]]}}]', "feature 1 is no GeoJSON"),
        ('[{"properties": [1]}]', "feature 1 is no GeoJSON"),
        (
            f'[{{"geometry": {{"type": "Polygon", "coordinates": [[[{10**400}, 0], [1, 1], [0, 1]]]}}}}]',
            "feature 1 is no GeoJSON",
        ),
    ],
)
def test_files_that_are_no_geojson_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(DatasetError, match=rf"a\.geojson.*{message}"):
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


@pytest.mark.parametrize("coordinates", [[], [[[0, 0], [5, 5], [0, 0], [0, 0]]]])
def test_an_outline_that_encloses_nothing_is_refused(coordinates: list, tmp_path: Path) -> None:
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": {},
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    with pytest.raises(DatasetError, match=r"feature 1 is no GeoJSON .*encloses nothing"):
        read_outlines(tmp_path / "a.geojson")
