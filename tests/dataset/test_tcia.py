from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tile_folders import picture, table
from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.tcia import FEATURES, VALIDATION, TileName, read_tcia, tile_name
from wsi_necrosis.errors import DatasetError

CASE_3, CASE_48, P9 = "Case 3 A10-10547-25283", "Case 48 - P5 C16-53844-23083", "P9 B11-10159-22267"
SET_1 = {CASE_3: "Non-Tumor", CASE_48: "viable: non-viable"}
SET_7 = {P9: "Viable"}


def on_disk(name: str) -> str:
    return name.replace(" - ", "-").replace(" ", "-") + ".jpg"


def download(root: Path, features: Mapping[str, str] | None = None, **sets: Mapping[str, str]) -> Path:
    """A small download: pictures of each set, tables of the sets, and of everything if wanted."""
    for place, labels in sets.items():
        folder = root / "Training-Set-1" / place
        for at, name in enumerate(labels):
            picture(folder / on_disk(name), at)
        lines = "".join(f"{name}.jpg,{label}\n" for name, label in labels.items())
        (folder / VALIDATION).write_text(lines)
    if features:
        rows = [
            {"x": at, "image.name": name, "classification": label}
            for at, (name, label) in enumerate(features.items())
        ]
        table(root / FEATURES, rows)
    return root


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (CASE_3, TileName("Case-3", "Case-3-A10", 10547, 25283)),
        (CASE_48, TileName("Case-48-P5", "Case-48-P5-C16", 53844, 23083)),
        (P9, TileName("P9", "P9-B11", 10159, 22267)),
        ("Case 4 C21-1-0", TileName("Case-4", "Case-4-C21", 1, 0)),
    ],
)
def test_both_spellings_of_a_name_are_read(name: str, expected: TileName) -> None:
    assert tile_name(name) == tile_name(f"{name}.jpg") == tile_name(on_disk(name)) == expected
    assert str(expected) + ".jpg" == on_disk(name)


@pytest.mark.parametrize(
    "name", ["zannotated", "", "Case 3 A10-10547", "Case 3 10547-25283", "P9-B11-10159-22267-1", "X9 B11-1-2"]
)
def test_other_names_give_none(name: str) -> None:
    assert tile_name(name) is None


CASES = st.one_of(
    st.builds("Case {}".format, st.integers(1, 99)),
    st.builds("Case {} - P{}".format, st.integers(1, 99), st.integers(1, 99)),
    st.builds("P{}".format, st.integers(1, 99)),
)
PLACES = st.integers(0, 10**6)


@given(CASES, st.sampled_from("ABCPZ"), st.integers(1, 99), PLACES, PLACES)
def test_made_up_names_come_back(case: str, letter: str, code: int, x: int, y: int) -> None:
    name = f"{case} {letter}{code}-{x}-{y}"
    found = tile_name(name)
    assert found == tile_name(on_disk(name)) == tile_name(str(found))
    hyphened = case.replace(" - ", "-").replace(" ", "-")
    assert found == TileName(hyphened, f"{hyphened}-{letter}{code}", x, y)


def test_the_names_of_all_real_tiles_are_read(data_dir: Path) -> None:
    with (data_dir / "tcia_os" / "manifest_1144.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 1144
    for row in rows:
        found = tile_name(row["file"])
        assert found == TileName(row["case"], row["slide"], int(row["x"]), int(row["y"]))
        assert f"{found}.jpg" == row["file"]
    cases = Counter(row["case"] for row in rows)
    assert cases == {"Case-3": 285, "Case-4": 277, "Case-48-P5": 370, "P9": 212}


@pytest.mark.parametrize("sources", ["validation", "features", "both"])
def test_either_source_of_labels_is_enough(tmp_path: Path, sources: str) -> None:
    everything = SET_1 | SET_7
    download(tmp_path, everything if sources != "validation" else None, set1=SET_1, set7=SET_7)
    if sources == "features":
        for path in tmp_path.rglob(VALIDATION):
            path.unlink()
    found = read_tcia(tmp_path)
    assert {entry.name: entry.label for entry in found} == {
        on_disk(name): label for name, label in everything.items()
    }
    path = tmp_path / "Training-Set-1" / "set7" / on_disk(P9)
    assert found[-1] == Entry(path.name, path, "Viable", "P9", "P9-B11", 10159, 22267)


def test_rows_without_pictures_are_ignored_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    download(tmp_path, set1=SET_1, set7=SET_7)
    with (tmp_path / "Training-Set-1" / "set1" / VALIDATION).open("a") as lines:
        # of another set, with another label; no name; a line of one cell
        lines.write(f"{P9}.jpg,Non-Tumor\nzannotated,perhaps\n\nzannotated\n")
    assert [entry.label for entry in read_tcia(tmp_path)] == ["Non-Tumor", "viable: non-viable", "Viable"]
    assert (
        "3 of 5 rows are ignored, as their pictures are not there, 2 of them for want of a name"
        in caplog.text
    )


def test_a_repeated_row_that_agrees_does_no_harm(tmp_path: Path) -> None:
    download(tmp_path, set7=SET_7)
    with (tmp_path / "Training-Set-1" / "set7" / VALIDATION).open("a") as lines:
        lines.write(f"{P9}.jpg,Viable\n")
    assert len(read_tcia(tmp_path)) == 1


def test_tables_that_disagree_are_refused(tmp_path: Path) -> None:
    download(tmp_path, SET_1 | {P9: "Non-Tumor", CASE_3: "Viable"}, set1=SET_1, set7=SET_7)
    expected = r"disagree about 'Case-3-.*' \('Non-Tumor' or 'Viable'\), 'P9-.*' \('Non-Tumor' or 'Viable'\)"
    with pytest.raises(DatasetError, match=expected):
        read_tcia(tmp_path)


def test_pictures_without_a_label_or_a_name_or_twice_are_refused(tmp_path: Path) -> None:
    set_1 = download(tmp_path, set1=SET_1, set7=SET_7) / "Training-Set-1" / "set1"
    other = picture(set_1 / "Case-3-A10-1-2.jpg")
    with pytest.raises(DatasetError, match=r"no table of .* has a label for 'Case-3-A10-1-2\.jpg'"):
        read_tcia(tmp_path)
    other.rename(set_1 / on_disk(P9))
    with pytest.raises(DatasetError, match="more than one picture of 'P9-B11-10159-22267'"):
        read_tcia(tmp_path)
    (set_1 / on_disk(P9)).rename(set_1 / "zannotated.jpg")
    with pytest.raises(DatasetError, match=r"names give no case: 'zannotated\.jpg'"):
        read_tcia(tmp_path)


def test_a_table_of_features_needs_its_columns(tmp_path: Path) -> None:
    table(download(tmp_path, set7=SET_7) / FEATURES, [{"image.name": P9, "class": "Viable"}])
    with pytest.raises(DatasetError, match="lacks the columns classification"):
        read_tcia(tmp_path)
