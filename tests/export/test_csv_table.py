import csv
import os
from pathlib import Path

import pytest

from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.names import printable


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "＝"])
def test_text_that_would_be_a_formula_is_escaped_and_numbers_are_not(tmp_path: Path, start: str) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"name": f"{start}cmd", "value": -1.5}], ["name", "value"])
    with path.open(newline="", encoding="utf-8-sig") as handle:
        assert list(csv.DictReader(handle)) == [{"name": f"'{printable(start)}cmd", "value": "-1.5"}]


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"name": os.fsdecode(b"a\xff.svs")}, {"name": "two\nlines"}], ["name"])
    assert path.read_text(encoding="utf-8-sig").splitlines() == ["name", "a\\xff.svs", "two\\nlines"]


def test_a_spreadsheet_recognises_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"name": "Präparat µ, a", "none": None}], ["name", "none"])
    assert path.read_bytes() == b"\xef\xbb\xbfname,none\n" + '"Präparat µ, a",\n'.encode()
