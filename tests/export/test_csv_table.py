import csv
from pathlib import Path

import pytest

from wsi_necrosis.export.csv_table import write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_would_be_a_formula_is_escaped_and_numbers_are_not(tmp_path: Path, start: str) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"name": f"{start}cmd", "value": -1.5}], ["name", "value"])
    with path.open(newline="", encoding="utf-8-sig") as handle:
        assert list(csv.DictReader(handle)) == [{"name": f"'{start}cmd".replace("\r", " "), "value": "-1.5"}]


def test_a_spreadsheet_recognises_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_csv(path, [{"name": "Präparat µ, a", "none": None}], ["name", "none"])
    assert path.read_bytes() == b"\xef\xbb\xbfname,none\n" + '"Präparat µ, a",\n'.encode()
