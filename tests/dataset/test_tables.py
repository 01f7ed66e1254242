from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tile_folders import table
from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.tables import positive, read_rows, read_table, whole
from wsi_necrosis.errors import DatasetError


def test_three_columns_are_enough(tmp_path: Path) -> None:
    path = table(tmp_path / "labels.csv", [{"file": "in/a.png", "case": " A ", "label": "Viable"}])
    assert read_table(path) == (Entry("in/a.png", tmp_path / "in" / "a.png", "Viable", "A"),)


def test_all_columns_are_read_and_others_ignored(tmp_path: Path) -> None:
    row = {
        "note": "x", "sha256": "77", "mpp": "0.25", "y": "20.0", "x": "-10", "slide": "A-1", "label": "Viable",
        "case": "A", "file": "a.png",
    }  # fmt: skip
    path = table(tmp_path / "t.csv", [row])
    path.write_text("\ufeff" + path.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert read_table(path) == (
        Entry("a.png", tmp_path / "a.png", "Viable", "A", "A-1", -10, 20, 0.25, "77"),
    )


@pytest.mark.parametrize("separator", [";", "\t"])
def test_tables_of_other_countries_are_read(tmp_path: Path, separator: str) -> None:
    lines = [["file", "case", "label", "mpp"], ["a, b.png", "A", "Viable", "0,25"], ["", "", "", ""]]
    text = "\r\n".join(separator.join(line) for line in lines)
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_table(tmp_path / "t.csv") == (
        Entry("a, b.png", tmp_path / "a, b.png", "Viable", "A", mpp=0.25),
    )


def test_a_semicolon_beside_commas_separates_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,case,label,note; more\na;b.png,A,Viable,x;y\n")
    (row,) = read_rows(tmp_path / "t.csv", ("file",))
    assert (row["file"], row["note; more"]) == ("a;b.png", "x;y")


def test_empty_cells_and_short_rows_give_no_value(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,case,label,x,mpp\na.png,A,Viable,,\nb.png,B\n")
    first, second = read_table(tmp_path / "t.csv")
    assert (first.x_l0, first.mpp) == (0, None)
    assert (second.case, second.label) == ("B", "")


def test_all_cells_that_are_no_numbers_are_listed(tmp_path: Path) -> None:
    rows = [
        {"file": "a.png", "x": "left", "y": "1", "mpp": "0.5"},
        {"file": "b.png", "x": "1.5", "y": "nan", "mpp": "0"},
        {"file": "c.png", "x": "1", "y": "1", "mpp": "inf"},
    ]
    path = table(tmp_path / "t.csv", [row | {"case": "A", "label": "Viable"} for row in rows])
    expected = (
        "'a.png' (x 'left'), 'b.png' (x '1.5'), 'b.png' (y 'nan'), 'b.png' (mpp '0'), 'c.png' (mpp 'inf')"
    )
    with pytest.raises(DatasetError) as caught:
        read_table(path)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give labelled tiles"),
        (b"file,label\na.png,Viable\n", "lacks the columns case"),
        (b"file,case,label\n", "no rows below its header"),
        (b"file,case,label\n\xe4.png,A,Viable\n", "not text in UTF-8"),
        (b'file,case,label\n"' + b"a" * 200_000 + b'",A,Viable\n', "save it as CSV"),
    ],
)
def test_files_that_are_no_tables_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_table(tmp_path / "t.csv")


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.csv cannot be read \(No such file"):
        read_rows(tmp_path / "nowhere.csv", ("file",))


@given(st.integers(-(2**40), 2**40))
def test_whole_numbers_come_back(value: int) -> None:
    assert whole(str(value)) == whole(f"{value}.0") == value
    with pytest.raises(ValueError, match=r"\.5"):
        whole(f"{value}.5")


@given(st.floats(1e-3, 1e3))
def test_sizes_come_back_to_the_last_bit(value: float) -> None:
    assert positive(str(value)) == value
    with pytest.raises(ValueError, match="-"):
        positive(str(-value))


@pytest.mark.parametrize(("text", "value"), [("0,25", 0.25), ("1,5e-1", 0.15)])
def test_a_decimal_comma_is_taken(text: str, value: float) -> None:
    assert positive(text) == value
    with pytest.raises(ValueError, match="convert"):
        positive(f"{text},{text}")


def test_headers_in_capitals_a_stated_separator_and_paths_of_windows_are_read(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.png").touch()
    (tmp_path / "t.csv").write_bytes("\ufeffsep=;\r\nFILE; Case ;Label\r\nin\\a.png;A;Viable\r\n".encode())
    assert read_table(tmp_path / "t.csv") == (Entry("in\\a.png", tmp_path / "in" / "a.png", "Viable", "A"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,case,label,Case\na.png,A,Viable,B\n", "more than one column 'case'"),
        ("file,case,label,mpp\na.png,A,Viable,0,5\n", "more cells than columns in the rows 2"),
        ("slide:case:annotations\na:b:c\n", "its first line is 'slide:case:annotations'"),
    ],
)
def test_tables_that_would_be_misread_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_rows(tmp_path / "t.csv", ("file", "case", "label"))
