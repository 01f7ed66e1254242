from __future__ import annotations

from pathlib import Path

import pytest
import shapely

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.slide_facts import info
from wsi_necrosis.dataset.regions import outlines_of, read_regions
from wsi_necrosis.errors import UsageError
from wsi_necrosis.geometry import Mpp

SLIDE = info(Mpp(0.5, 0.5))


def test_areas_of_any_class_join_and_ignored_ones_are_taken_off(tmp_path: Path) -> None:
    areas = [
        feature("Region*", square(0, 0, 100)),
        feature(None, square(50, 0, 100)),
        feature("Ignore*", square(0, 0, 20)),
    ]
    found = read_regions(geojson(tmp_path / "a.geojson", areas), None, SLIDE)
    assert found.roi is not None
    assert found.roi.polygon.area == 150 * 100 - 20 * 20
    assert found.tissue is None
    assert shapely.get_num_geometries(found.roi.polygon) == 1


@pytest.mark.parametrize(
    ("areas", "said"),
    [
        ([], "outlines no area"),
        ([feature("Ignore*", square(0, 0, 9))], "outlines no area"),
        ([feature("Tumor", square(99999, 0, 9))], "lie beside the slide"),
    ],
)
def test_outlines_that_say_nothing_are_refused(tmp_path: Path, areas: list, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_regions(None, geojson(tmp_path / "a.geojson", areas), SLIDE)
    with pytest.raises(UsageError, match="none"):
        read_regions(tmp_path / "none.geojson", None, SLIDE)


def test_the_file_of_a_slide_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.svs.geojson", "sub/b.geojson", "c.geojson", "c.json"):
        (tmp_path / name).touch()
    assert outlines_of(tmp_path, "a.svs") == tmp_path / "a.svs.geojson"
    assert outlines_of(tmp_path, "sub/b.tiff") == tmp_path / "sub" / "b.geojson"
    assert outlines_of(tmp_path, "d.svs") is None
    with pytest.raises(UsageError, match="keep one"):
        outlines_of(tmp_path, "c.svs")
