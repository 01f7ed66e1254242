from pathlib import Path

import pytest

from wsi_necrosis.dataset.manifest import ManifestSlide, read_manifest, read_mpp_table
from wsi_necrosis.errors import UsageError
from wsi_necrosis.geometry import Mpp


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8-sig")
    return path


def test_a_path_is_enough_and_is_relative_to_the_manifest(tmp_path: Path) -> None:
    found, unused = read_manifest(write(tmp_path / "m.csv", "path\na.svs\n/x/b ü.svs\n"))
    assert unused == ()
    assert found == (ManifestSlide(tmp_path / "a.svs"), ManifestSlide(Path("/x/b ü.svs")))


def test_all_columns_are_read_from_a_german_spreadsheet(tmp_path: Path) -> None:
    head = "role;path;slide_id;case;block;slab;slab_row;slab_col;mpp_x;mpp_y;scene;note"
    rows = f"{head}\n slab ;a.svs;S1;C1;B2;3;1;2;0,5;0,25;2;x\n"
    (slide,), unused = read_manifest(write(tmp_path / "m.csv", rows))
    facts = {"case": "C1", "block": "B2", "role": "slab", "slab": "3", "slab_row": "1", "slab_col": "2"}
    assert slide == ManifestSlide(tmp_path / "a.svs", "S1", Mpp(0.5, 0.25), "2", facts)
    assert unused == ("note",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case\nA\n", "lacks the columns path"),
        ("path\n", "no rows"),
        ("path,case\na.svs,A\n ,B\n,C\n", "no path in the lines 3, 4"),
        ("path,role\na.svs,tumour\n", "unknown roles 'tumour'; a role is one of slab, biopsy, margin, other"),
        ("path,mpp_x\na.svs,40x\n", r"'a.svs' \(mpp_x '40x'\)"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_manifest(write(tmp_path / "m.csv", text))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.csv cannot be read .*check the path"):
        read_manifest(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("column", ["path", "name"])
def test_pixel_sizes_by_path_or_name(tmp_path: Path, column: str) -> None:
    found = read_mpp_table(write(tmp_path / "t.csv", f"{column},mpp_x,mpp_y\na.svs,0.5,0.25\nb.svs,0.5,\n"))
    assert found == {"a.svs": Mpp(0.5, 0.25), "b.svs": Mpp(0.5, 0.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("slide,mpp_x\na,1\n", "lacks a column path or name"),
        ("name\na\n", "lacks the columns mpp_x"),
        ("name,mpp_x\na,1\na,2\n", "names a slide twice"),
        ("name,mpp_x\na,\n", "without mpp_x"),
        ("name,mpp_x\na,-1\n", "cannot be taken"),
    ],
)
def test_faults_of_pixel_sizes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_mpp_table(write(tmp_path / "t.csv", text))
