from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.case_results import manifest
from tests.helpers.drawn_phantom import drawn, write_outlines
from wsi_necrosis.dataset.annotations import read_outlines
from wsi_necrosis.errors import UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.report.case_slides import case_slides
from wsi_necrosis.report.drawn_areas import Frame, drawn_areas, drawn_number
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


def test_drawn_areas_that_equal_the_truth_give_its_percentage(tmp_path: Path) -> None:
    """With the slide's pixels, and by the manifest's pixel size alone."""
    truth = write_phantom(tmp_path / "p.tiff", np.random.default_rng(3), side_mm=2.0)
    folder = tmp_path / "drawn"
    folder.mkdir()
    write_outlines(folder / "p.geojson", drawn(truth))
    write_outlines(folder / "q.geojson", drawn(truth))
    rows = [{"path": "p.tiff", "case": "1"}, {"path": "q.tiff", "case": "2", "mpp_x": "0.5", "mpp_y": "0.5"}]
    slides = case_slides(tmp_path / "none", manifest(tmp_path / "m.csv", rows))
    seen, alone = (drawn_number(slides[case], folder, "tumour") for case in "12")
    for found in (seen, alone):
        assert found.percent_viable == pytest.approx(truth.percent_viable, abs=0.1)
        assert found.largest_focus_mm is not None
        assert 0.5 < found.largest_focus_mm < 0.6
    assert sum(seen.mm2.values()) == pytest.approx(4.0)
    assert seen.mm2["background"] > 1
    assert seen.definition["tissue"] == "tissue within the outlines"
    assert "of q.tiff all within them, glass too" in alone.definition["tissue"]
    assert seen.mm2["abstained"] < 0.02
    bed = drawn_number(slides["2"], folder, "tumour_bed")
    area = truth.area_mm2
    assert bed.percent_viable == pytest.approx(100 * area["viable"] / sum(area.values()), abs=0.1)
    assert bed.percent_non_tumour == pytest.approx(100 * area["non_tumour"] / sum(area.values()), abs=0.1)


def test_every_pixel_counts_once_and_glass_within_an_outline_is_background(tmp_path: Path) -> None:
    kind = np.array([[0, 1, 1, 1], [2, 1, 3, 4], [5, 1, 1, 1]], np.uint8)
    mask = TissueMask(kind, Box(0, 0, 40, 30), (10, 10), Mpp(5.0, 5.0))
    path = geojson(
        tmp_path / "a.geojson",
        [
            feature("Tumor", square(0, 0, 20, 30)),
            feature("Necrosis", square(20, 0, 20, 10)),
            feature("Ignore*", square(10, 20, 10)),
        ],
    )
    terms, extent = drawn_areas(read_outlines(path), Frame(Mpp(0.5, 0.5), mask))
    pixels = {name: round(float(area) / mask.px_mm2) for name, area in terms.items()}
    assert pixels == {
        "outside_region": 1, "not_scanned": 1, "unreadable": 1, "background": 2, "abstained": 3,
        "non_tumour_by_class": 0, "non_viable_by_class": 2, "viable_by_class": 2,
    }  # fmt: skip
    assert extent == pytest.approx(np.hypot(20, 30) * 0.5e-3)
    assert sum(pixels.values()) == kind.size
    assert (kind == MaskClass.TISSUE).sum() == 7


def test_outlines_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    slides = case_slides(
        tmp_path, manifest(tmp_path / "m.csv", [{"path": f"{name}.svs", "case": "1"} for name in "ab"])
    )["1"]
    geojson(tmp_path / "a.geojson", [feature("Tumor", square(0, 0, 20))])
    with pytest.raises(UsageError, match="mpp_x and mpp_y"):
        drawn_number(slides, tmp_path, "tumour")
    geojson(tmp_path / "a.geojson", [feature("Fat", square(0, 0, 20))])
    with pytest.raises(UsageError, match="'Fat'"):
        drawn_number(slides, tmp_path, "tumour")
    (tmp_path / "a.geojson").unlink()
    found = drawn_number(slides, tmp_path, "tumour")
    assert found.incomplete == {"a.svs": "no outlines of it", "b.svs": "no outlines of it"}
