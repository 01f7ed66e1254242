from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.tile_folders import table
from wsi_necrosis.dataset.annotated import Field, read_annotated
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Mpp

FIELD = Field(10, 1.0)


@pytest.fixture
def slides(tmp_path: Path, made_up_slides: Callable[..., None]) -> Callable[..., Path]:
    """Write a table of two slides with annotations, each changed as wanted."""
    made_up_slides(Mpp(1.0, 1.0))

    def write(first: dict[str, Any] = {}, second: dict[str, Any] = {}) -> Path:  # noqa: B006  (only read)
        rows = []
        for name, changed in (("a", first), ("b", second)):
            (tmp_path / f"{name}.svs").write_text(name)
            geojson(tmp_path / f"{name}.geojson", [feature("Tumor", square(0, 0, 10))])
            plain = {"slide": f"{name}.svs", "case": name.upper(), "annotations": f"{name}.geojson"}
            rows.append(plain | {"mpp_x": "", "mpp_y": ""} | changed)
        return table(tmp_path / "slides.csv", rows)

    return write


def test_slides_and_annotations_are_found_beside_the_table(
    tmp_path: Path, slides: Callable[..., Path]
) -> None:
    first, second = read_annotated(slides(second={"mpp_x": "0.5", "mpp_y": " 0.25"}), FIELD)
    assert (first.row.name, first.row.case) == ("a.svs", "A")
    assert (first.row.path, first.row.annotations) == (tmp_path / "a.svs", tmp_path / "a.geojson")
    assert [outline.name for outline in first.outlines] == ["Tumor"]
    assert first.info.mpp == Mpp(1.0, 1.0)
    assert second.info.mpp == Mpp(0.5, 0.25)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"case": " "}, r"names no case for 'a\.svs', 'b\.svs'"),
        ({"slide": "a.svs"}, r"lists more than once 'a\.svs'"),
        ({"slide": ""}, "lists more than once ''"),
        ({"annotations": "nowhere"}, r"annotations that are not there for 'a\.svs', 'b\.svs'"),
        ({"mpp_x": "0.5"}, r"gives one of mpp_x and mpp_y for 'a\.svs', 'b\.svs'"),
        ({"mpp_x": "wide"}, r"'a\.svs' \(mpp_x 'wide'\), 'b\.svs' \(mpp_x 'wide'\)"),
        ({"mpp_x": "0.5", "mpp_y": "50"}, r"sizes that no scan has for 'a\.svs', 'b\.svs'"),
        ({"mpp_x": "1.03", "mpp_y": "1"}, r"coarser .* 1 um of a tile: 'a\.svs \(1\.03 x 1\)', 'b\.svs"),
    ],
)
def test_all_faults_of_a_kind_are_listed(slides: Callable[..., Path], changed: dict, message: str) -> None:
    path = slides(changed, changed)
    with pytest.raises(DatasetError, match=message):
        read_annotated(path, FIELD)


def test_missing_slides_are_listed(slides: Callable[..., Path]) -> None:
    with pytest.raises(DatasetError, match=r"slides that are not there: '', 'c\.svs'"):
        read_annotated(slides({"slide": "c.svs"}, {"slide": ""}), FIELD)


def test_missing_pixel_sizes_are_listed(
    slides: Callable[..., Path], made_up_slides: Callable[..., None]
) -> None:
    made_up_slides(None)
    with pytest.raises(
        DatasetError, match=r"missing pixel size for 'a\.svs', 'b\.svs'; give its columns mpp_x"
    ):
        read_annotated(slides(), FIELD)
    sized = {"mpp_x": "0.5", "mpp_y": "0.5"}
    assert len(read_annotated(slides(sized, sized), FIELD)) == 2


def test_unknown_classes_of_all_slides_are_listed(tmp_path: Path, slides: Callable[..., Path]) -> None:
    path = slides()
    for name, kind in (("a", "Fat"), ("b", None)):
        geojson(tmp_path / f"{name}.geojson", [feature(kind, square(0, 0, 10))] * 2)
    with pytest.raises(DatasetError, match=r"'Fat' \(2 in a\.geojson\), no class \(2 in b\.geojson\)"):
        read_annotated(path, FIELD)
