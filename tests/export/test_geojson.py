import json
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from tests.helpers.regions import TERMS, areas_mm2
from wsi_necrosis.dataset.annotations import read_areas
from wsi_necrosis.export.geojson import write_regions, write_tissue
from wsi_necrosis.geometry import Box
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import cell_pixels
from wsi_necrosis.tiling.mask import MaskClass
from wsi_necrosis.tiling.regions import inside

COLOURS = {colour.qupath: list(colour.rgb) for colour in PALETTE.values()}


def features(slide: Any, folder: Path, fingerprint: str = "f") -> list[dict[str, Any]]:
    write_regions(folder / "regions.geojson", slide.scores, slide.heatmap, slide.layers.mask, fingerprint)
    found = json.loads((folder / "regions.geojson").read_text(encoding="utf-8"))
    assert found["type"] == "FeatureCollection"
    return found["features"]


def labelled(slide: Any, label: Any) -> Any:
    """The slide with other labels, its tissue everywhere; no more than the labels matter for outlines."""
    label = np.asarray(label, np.uint8)
    heat, grid = slide.heatmap, slide.scores.grid
    plane = Box(grid.plane.x_l0, grid.plane.y_l0, label.shape[1] * 256 - 3, label.shape[0] * 128 - 1)
    grid = replace(grid, plane=plane)
    channels = np.full((4, *label.shape), 0.25, np.float32)
    kind = np.full((label.shape[0] * 32, label.shape[1] * 32), MaskClass.TISSUE, np.uint8)
    mask = replace(slide.layers.mask, kind=kind, plane=plane)
    px = cell_pixels(grid, mask)
    px[label == CellLabel.UNREADABLE] = px[label == CellLabel.UNREADABLE][:, [0, 2, 1, 3, 4]]
    scores = replace(slide.scores, grid=grid, px=px, prob=np.moveaxis(channels[:3], 0, -1))
    heatmap = replace(heat, label=label, channels=channels, grid=grid)
    return replace(
        slide, scores=scores, heatmap=heatmap, layers=replace(slide.layers, mask=mask, heatmap=heatmap)
    )


@pytest.mark.parametrize("seed", range(4))
def test_areas_of_the_outlines_are_the_terms_of_the_ledger(
    made_up: Callable[..., Any], tmp_path: Path, seed: int
) -> None:
    slide = made_up(seed=seed, cols=300 + 17 * seed)
    found = features(slide, tmp_path)
    ledger, areas = slide.score.ledger.area_mm2(), areas_mm2(found, slide.info.known_mpp)
    for name, term in TERMS.items():
        assert areas[term] == pytest.approx(ledger[term], rel=0.003)  # pixels at the plane's edge overhang it
        stated = [each for each in found if each["properties"]["classification"]["name"] == name]
        measured = sum(each["properties"]["measurements"]["Area mm^2"] for each in stated)
        assert measured == pytest.approx(ledger[term], rel=1e-9)


def test_tissue_in_pieces_is_one_region_without_the_glass(
    made_up: Callable[..., Any], tmp_path: Path
) -> None:
    slide = labelled(made_up(), [[3, 3]])
    slide.layers.mask.kind[:, 30:40] = MaskClass.GLASS
    (feature,) = features(slide, tmp_path)
    assert feature["geometry"]["type"] == "MultiPolygon"
    pieces = [shapely.Polygon(outer) for (outer,) in feature["geometry"]["coordinates"]]
    assert sorted(piece.bounds for piece in pieces) == [(0, 0, 30 * 8, 127), (40 * 8, 0, 509, 127)]
    assert all(piece.exterior.is_ccw for piece in pieces)


def test_unreadable_pixels_of_a_scored_cell_are_a_region_of_their_own(
    made_up: Callable[..., Any], tmp_path: Path
) -> None:
    slide = labelled(made_up(), [[3]])
    slide.layers.mask.kind[:16] = MaskClass.UNREADABLE
    slide.scores.px[0, 0] = [0, 16 * 32, 16 * 32, 0, 0]
    viable, lost = features(slide, tmp_path)
    assert (viable["properties"]["classification"]["name"], lost["properties"]["classification"]["name"]) == (
        "Tumor",
        "Region*",
    )
    assert shapely.Polygon(lost["geometry"]["coordinates"][0]).bounds == (0, 0, 253, 64)


def test_features_are_as_qupath_takes_them(made_up: Callable[..., Any], tmp_path: Path) -> None:
    found = features(made_up(), tmp_path)
    assert {feature["properties"]["classification"]["name"] for feature in found} == set(COLOURS)
    for feature in found:
        assert feature["type"] == "Feature"
        assert UUID(feature["id"]).version == 5
        properties = feature["properties"]
        assert properties["objectType"] == "annotation"
        assert properties["isLocked"] is False
        assert properties["classification"]["color"] == COLOURS[properties["classification"]["name"]]
        assert all(np.isfinite(value) for value in properties["measurements"].values())
        geometry = feature["geometry"]
        pieces = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for ring in (ring for piece in pieces for ring in piece):
            assert ring[0] == ring[-1]
            assert len(ring) >= 5


def test_a_ring_with_a_hole_is_placed_cut_and_measured(made_up: Callable[..., Any], tmp_path: Path) -> None:
    label = np.full((3, 3), 3)
    label[1, 1] = 1
    slide = labelled(made_up(), label)
    core, ring = features(slide, tmp_path)
    outer, hole = ring["geometry"]["coordinates"]
    # cells are 256 x 128 pixels; the bounds are subtracted; the plane ends 3 and 1 pixels early
    assert sorted(map(tuple, outer[:-1])) == [(0, 0), (0, 383), (765, 0), (765, 383)]
    assert sorted(map(tuple, hole[:-1])) == [(256, 128), (256, 256), (512, 128), (512, 256)]
    assert sorted(map(tuple, core["geometry"]["coordinates"][0][:-1])) == sorted(map(tuple, hole[:-1]))
    assert ring["properties"]["classification"]["name"] == "Tumor"
    assert ring["properties"]["measurements"] == {
        "Area mm^2": pytest.approx(8 * 32 * 32 * slide.scores.px_mm2),
        "Cells": 8,
        "Mean p viable": 0.25,
    }


def test_mean_is_weighted_with_tissue(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = labelled(made_up(), [[3, 3]])
    slide.scores.px[0, :, 1] = 30, 10
    slide.heatmap.channels[2] = 0.9, 0.5
    (feature,) = features(slide, tmp_path)
    assert feature["properties"]["measurements"]["Mean p viable"] == pytest.approx(0.8)


def test_unreadable_regions_have_no_probability(made_up: Callable[..., Any], tmp_path: Path) -> None:
    slide = labelled(made_up(), [[5]])
    (feature,) = features(slide, tmp_path)
    area = pytest.approx(32 * 32 * slide.scores.px_mm2)
    assert feature["properties"]["measurements"] == {"Area mm^2": area, "Cells": 1}


def test_cells_that_touch_at_a_corner_are_two_regions(made_up: Callable[..., Any], tmp_path: Path) -> None:
    assert len(features(labelled(made_up(), [[2, 0], [0, 2]]), tmp_path)) == 2


def test_identifiers_follow_the_slide_and_not_the_run(made_up: Callable[..., Any], tmp_path: Path) -> None:
    one, again, other = (
        [feature["id"] for feature in features(made_up(), tmp_path, fingerprint)] for fingerprint in "aab"
    )
    assert one == again
    assert len(set(one)) == len(one)
    assert not set(one) & set(other)


def test_nothing_found_is_an_empty_collection(made_up: Callable[..., Any], tmp_path: Path) -> None:
    assert features(made_up(fill="glass"), tmp_path) == []


labels = hnp.arrays(
    np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 3])
)


@given(labels)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_outlines_cover_their_cells_and_nothing_else(
    made_up: Callable[..., Any], tmp_path: Path, label: np.ndarray
) -> None:
    slide = labelled(made_up(cols=32, rows=32), label)
    found = features(slide, tmp_path)
    shapes = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in found]
    assert all(shape.is_valid and shape.exterior.is_ccw for shape in shapes)
    assert len(found) == sum(int(ndimage.label(label == value)[1]) for value in (1, 3))
    assert all(one.intersection(other).area == 0 for one, other in combinations(shapes, 2))
    for row, col in np.ndindex(label.shape):
        centre = shapely.Point(col * 256 + 128, row * 128 + 64)
        names = [
            f["properties"]["classification"]["name"]
            for f, s in zip(found, shapes, strict=True)
            if s.contains(centre)
        ]
        assert names == ([PALETTE[int(label[row, col])].qupath] if label[row, col] else [])
    plane = slide.scores.grid.plane
    widths = np.minimum(256, plane.width_l0 - 256 * np.arange(label.shape[1]))
    heights = np.minimum(128, plane.height_l0 - 128 * np.arange(label.shape[0]))
    assert sum(shape.area for shape in shapes) == pytest.approx(
        (np.outer(heights, widths) * (label > 0)).sum()
    )


def test_all_tissue_is_one_annotation_that_comes_back_as_it_went(
    made_up: Callable[..., Any], tmp_path: Path
) -> None:
    slide, path = made_up(), tmp_path / "tissue.geojson"
    mask = slide.layers.mask
    write_tissue(path, slide.scores.grid, mask, "f")
    (feature,) = json.loads(path.read_text(encoding="utf-8"))["features"]
    assert feature["properties"]["measurements"]["Area mm^2"] == pytest.approx(mask.area_mm2()["tissue"])
    (outline,) = read_areas(path)
    np.testing.assert_array_equal(inside(outline.polygon, mask), mask.kind == MaskClass.TISSUE)
    write_tissue(path, slide.scores.grid, replace(mask, kind=np.zeros_like(mask.kind)), "f")
    assert json.loads(path.read_text(encoding="utf-8"))["features"] == []
