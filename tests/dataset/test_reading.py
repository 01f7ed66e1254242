from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.tile_folders import data, picture, table
from wsi_necrosis.classes import NON_TUMOUR, VIABLE
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.reading import find_layout, read_tiles
from wsi_necrosis.dataset.tcia import FEATURES, VALIDATION
from wsi_necrosis.dataset.tiles import LabelledTile, cases_of, inner_fold, leave_case_out
from wsi_necrosis.errors import DatasetError, SettingsError
from wsi_necrosis.geometry import Mpp

FIELD = Field(10, 1.0)


def read(place: Path, **changed: object) -> tuple[LabelledTile, ...]:
    scratch = place.parent / "scratch"
    return read_tiles(data(place, **changed), scratch, FIELD)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("labels.csv", "slides.csv", FEATURES), "table"),
        ((FEATURES, "slides.csv"), "tcia"),
        ((f"Training-Set-1/set1/{VALIDATION}",), "tcia"),
        (("slides.csv", "A/Viable/a.png"), "slides"),
        (("A/Viable/a.png", "A/labels.csv"), "folders"),
        ((), "folders"),
    ],
)
def test_the_layout_of_a_folder_follows_from_its_files(
    tmp_path: Path, names: tuple[str, ...], expected: str
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert find_layout(tmp_path) == expected


def test_a_csv_file_is_a_table_unless_it_lists_slides(tmp_path: Path) -> None:
    for name, expected in (("any.CSV", "table"), ("slides.csv", "slides")):
        (tmp_path / name).touch()
        assert find_layout(tmp_path / name) == expected
    (tmp_path / "tiles.txt").touch()
    for name in ("tiles.txt", "nowhere", "nowhere.csv"):
        with pytest.raises(DatasetError, match=rf"{name} is no folder and no CSV file"):
            find_layout(tmp_path / name)


@pytest.fixture
def sources(tmp_path: Path, made_up_slides: Callable[..., None]) -> dict[str, Path]:
    """A non-tumour tile and a viable one of two cases, in every layout."""
    made_up_slides(Mpp(1.0, 1.0))
    rows = [
        {"file": picture(tmp_path / "table" / "a.png"), "case": "P1", "label": "Non-Tumor"},
        {"file": picture(tmp_path / "table" / "b.png", 9), "case": "P2", "label": "viable"},
    ]
    table(tmp_path / "table" / "labels.csv", rows)
    picture(tmp_path / "folders" / "P1" / "non_tumour" / "a.png")
    picture(tmp_path / "folders" / "P2" / "Viable" / "a.png", 9)
    picture(tmp_path / "tcia" / "set1" / "P1-A1-0-0.jpg")
    picture(tmp_path / "tcia" / "set1" / "P2-A1-0-0.jpg", 9)
    (tmp_path / "tcia" / "set1" / VALIDATION).write_text("P1 A1-0-0.jpg,Non-Tumor\nP2 A1-0-0.jpg,Viable\n")
    (tmp_path / "slides").mkdir()
    slides = []
    for case, name in (("P1", "Other"), ("P2", "Tumor")):
        (tmp_path / "slides" / f"{case}.svs").write_text(case)
        ring = square(0, 0, 10) if case == "P1" else square(20, 20, 10)
        geojson(tmp_path / "slides" / f"{case}.geojson", [feature(name, ring)])
        slides.append({"slide": f"{case}.svs", "case": case, "annotations": f"{case}.geojson"})
    table(tmp_path / "slides" / "slides.csv", slides)
    return {layout: tmp_path / layout for layout in ("table", "tcia", "folders", "slides")}


@pytest.mark.parametrize("layout", ["table", "tcia", "folders", "slides"])
@pytest.mark.parametrize("given", [True, False])
def test_every_layout_gives_the_same_tiles(
    sources: dict[str, Path], caplog: pytest.LogCaptureFixture, layout: str, given: bool
) -> None:
    caplog.set_level("INFO")
    tiles = read(sources[layout], layout=layout if given else "auto")
    assert [(tile.case, tile.label) for tile in tiles] == [("P1", NON_TUMOUR), ("P2", VIABLE)]
    assert [tile.mpp for tile in tiles] == [1.0 if layout == "slides" else 0.5] * 2
    assert all(len(tile.sha256) == 64 and tile.path.is_file() for tile in tiles)
    assert len(leave_case_out(tiles)) == 2
    for line in (
        f"{layout} is read as {layout}",
        "2 tiles of 2 cases: 1 non_tumour, 1 viable",
        "P1: 1 non_tumour",
    ):
        assert line in caplog.text


def test_tiles_are_cut_below_scratch_alone(sources: dict[str, Path]) -> None:
    scratch = sources["slides"].parent / "scratch"
    tiles = read_tiles(data(sources["slides"] / "slides.csv"), scratch, FIELD)
    assert {tile.path.parent for tile in tiles} == {scratch / "tiles"}
    assert {path.name for path in sources["slides"].iterdir()} == {
        "slides.csv", *(f"P{at}.{ending}" for at in (1, 2) for ending in ("svs", "geojson")),
    }  # fmt: skip


def test_mixed_tiles_are_counted(sources: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    picture(sources["folders"] / "P2" / "viable: non-viable" / "b.png", 3)
    assert len(read(sources["folders"])) == 2
    assert len(read(sources["folders"], mixed="soft")) == 3
    assert "P2: 1 viable, 1 mixed" in caplog.text


def test_messages_name_the_table_or_the_folder(sources: dict[str, Path]) -> None:
    picture(sources["folders"] / "P1" / "fat" / "a.png")
    with pytest.raises(DatasetError, match="folders has unknown labels 'fat'"):
        read(sources["folders"])
    with pytest.raises(DatasetError, match=r"table/labels\.csv has a missing pixel size for"):
        read(sources["table"], mpp_um=None)
    with pytest.raises(DatasetError, match=r"labels\.csv is no folder, as data\.layout tcia needs"):
        read(sources["table"] / "labels.csv", layout="tcia")
    with pytest.raises(DatasetError, match=r"folders/slides\.csv cannot be read"):
        read(sources["folders"], layout="slides")
    with pytest.raises(SettingsError, match=r"data\.tiles"):
        read(Path("$NOT_SET_ANYWHERE"))


def test_the_real_tiles_are_read(data_dir: Path, tmp_path: Path) -> None:
    tiles = read_tiles(data(data_dir / "tcia_os"), tmp_path, FIELD)
    assert np.bincount([tile.label for tile in tiles]).tolist() == [16, 16, 16]
    assert cases_of(tiles) == ("Case-3", "Case-4", "Case-48-P5", "P9")
    assert {tile.mpp for tile in tiles} == {0.5}
    assert len(leave_case_out(tiles)) == 4
    assert list(tmp_path.iterdir()) == []


def test_real_cases_that_can_be_spared(data_dir: Path, tmp_path: Path) -> None:
    tiles = read_tiles(data(data_dir / "tcia_os"), tmp_path, FIELD)
    spared = {}
    for fold in leave_case_out(tiles):
        inner = inner_fold(fold.train)
        spared[fold.test[0].case] = inner and inner.test[0].case
    # Case-4 alone holds both kinds of tumour: without it every other case is needed
    assert spared == {"Case-3": "Case-48-P5", "Case-4": None, "Case-48-P5": "Case-3", "P9": "Case-4"}
