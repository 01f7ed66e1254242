import csv
from pathlib import Path

import pytest

from wsi_necrosis.export.csv_cells import safe_cell, write_csv


@pytest.mark.parametrize("text", ["=1+1", "+ margin", "-a.svs", "@a", "\tx", "\rx"])
def test_text_that_may_be_a_formula_is_escaped(text: str) -> None:
    assert safe_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=b", "", "'=1", -0.5, None, 3, "/slides/=a.svs"])
def test_all_else_stays(value: object) -> None:
    assert safe_cell(value) is value


def test_a_table_is_marked_as_utf_8_and_escaped(tmp_path: Path) -> None:
    rows = [{"slide": "ü, ö.svs", "x": -1.5}, {"slide": "=a.svs", "other": "left out"}]
    write_csv(tmp_path / "t.csv", ("slide", "x"), rows)
    assert (tmp_path / "t.csv").read_bytes().startswith(b"\xef\xbb\xbfslide,x\n")
    with (tmp_path / "t.csv").open(encoding="utf-8-sig", newline="") as stream:
        found = list(csv.DictReader(stream))
    assert found == [{"slide": "ü, ö.svs", "x": "-1.5"}, {"slide": "'=a.svs", "x": ""}]
