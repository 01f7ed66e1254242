from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from wsi_necrosis.errors import StoreError
from wsi_necrosis.report.marks import MARKS, Mark, add_mark, all_marks, marks_that_count

MARK = Mark("slides/a.svs", 3, 4, 96.5, 128.0, 32.0, 32.0, 10, 20, "viable", "A", "2026-01-01T00:00:00+00:00")


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    other = replace(MARK, row=5, label="unsure", reader="Zoë, B.")
    assert all_marks(tmp_path) == []
    add_mark(tmp_path, MARK)
    assert add_mark(tmp_path, other) == all_marks(tmp_path) == [MARK, other]


def test_of_each_cell_and_reader_the_last_mark_counts() -> None:
    changed, others = replace(MARK, label="unsure"), replace(MARK, reader="B")
    assert marks_that_count([MARK, others, changed]) == [changed, others]
    assert marks_that_count([MARK, others, replace(MARK, label="")]) == [others]


def test_the_place_is_that_of_the_cell() -> None:
    assert MARK.box_l0 == (96.5, 128.0, 32.0, 32.0)
    assert MARK.origin_l0 == (10, 20)


@pytest.mark.parametrize("text", ["folder,row\n", "", "folder,row,col\na,b,c\n"])
def test_a_damaged_table_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / MARKS).write_text(text)
    with pytest.raises(StoreError, match=r"marks\.csv is damaged"):
        all_marks(tmp_path)
