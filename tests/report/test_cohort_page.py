import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.page import Page
from wsi_necrosis.errors import StoreError
from wsi_necrosis.export.summary import _row, write_summary
from wsi_necrosis.report import cohort_page
from wsi_necrosis.report.cohort_page import write_cohort_report
from wsi_necrosis.report.marks import Mark, add_mark
from wsi_necrosis.report.slide_report import open_results

HOSTILE = "<script>alert('x')</script>"


def page_of(out: Path) -> Page:
    write_cohort_report(out)
    return Page((out / "report.html").read_text(encoding="utf-8"))


def test_each_slide_has_a_line_that_leads_to_its_report(finished: Path) -> None:
    out = finished.parents[1]
    write_summary(out)
    page = page_of(out)
    links = [facts["href"] for tag, facts in page.tags if tag == "a"]
    assert links == ["slides/slide.tiff/report.html"]
    percent = open_results(finished).percent_viable
    assert "not evaluable" in page.text if percent is None else f"{percent:.1f}" in page.text


@pytest.fixture
def rows(finished: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """Rows of two slides, which a test may change, in place of those of the folder."""
    row = _row(open_results(finished).result)
    place = {"slab": "A", "slab_row": "1", "slab_col": "2", "case": "P", "block": HOSTILE}
    scored = {"status": "scored", "percent_viable": 41.7, "ci_low": 30.0, "ci_high": 55.0, "finding": None}
    none = {"status": "not_evaluable", "reason": "no_tissue", "percent_viable": None, "ci_low": None}
    found = {"a/b #1.svs": {**row, **place, **scored}, "c.svs": {**row, **none, "slide_id": "c.svs"}}
    monkeypatch.setattr(cohort_page, "rows_by_folder", lambda out: found)
    return found


def test_numbers_intervals_and_slabs_are_shown(rows: dict[str, Any], tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "Percent viable of 2 slides" in page.text
    assert "1 scored, 1 not evaluable" in page.text
    assert "41.7" in page.text
    assert "30 to 55" in page.text
    assert "no tissue was scored" in page.text
    labels = [
        facts["aria-label"] for tag, facts in page.tags if tag == "svg" and facts.get("class") == "slab"
    ]
    assert labels == [f"P, slab A: {HOSTILE} 42 percent"]
    assert "script" not in [tag for tag, _ in page.tags]


def test_numbers_of_cases_stand_before_those_of_slides(rows: dict[str, Any], tmp_path: Path) -> None:
    grade = {"grade": "III", "good": True, "reason": None}
    lost = {"grade": None, "good": None, "reason": "no_interval"}
    common = {"status": "scored", "reason": None, "counted": ["a", "b"]}
    numbers = [
        {**common, "source": "model", "percent_viable": 8.24,
         "interval": {"low": 4.0, "high": 15.0, "covers_classifier": True},
         "incomplete": {"c.svs": "failed"}, "grades": {"huvos": grade}},
        {**common, "source": "review", "percent_viable": 6.0, "interval": None, "incomplete": {},
         "grades": {"huvos": lost}},
    ]  # fmt: skip
    (tmp_path / "cases.json").write_text(json.dumps({"cases": [{"case": HOSTILE, "numbers": numbers}]}))
    page = page_of(tmp_path)
    assert [page.text.count(words) for words in ("Cases", "8.2", "4 to 15", "huvos: III", "huvos: no interval")] == [
        1, 1, 1, 1, 1,
    ]  # fmt: skip
    assert "Incomplete: c.svs (failed)" in page.text
    assert page.text.index("Cases") < page.text.index("All slides")
    assert "script" not in [tag for tag, _ in page.tags]


def test_damaged_cases_are_named(rows: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "cases.json").write_text("{}")
    with pytest.raises(StoreError, match=r"cases\.json is damaged .*call `wsi-necrosis case` again"):
        write_cohort_report(tmp_path)


def test_free_marks_are_counted_and_enter_no_number(finished: Path) -> None:
    out = finished.parents[1]
    before = page_of(out).text
    assert "Free marks" not in before
    for col, label, reader in (
        (1, "viable", "A"),
        (2, "viable", HOSTILE),
        (3, "unsure", "A"),
        (4, "non_viable", "A"),
    ):
        mark = Mark("slides/slide.tiff", 0, col, 0.0, 0.0, 1.0, 1.0, 0, 0, label, reader, "")
        add_mark(out, mark)
    add_mark(out, replace(mark, label=""))
    after = page_of(out).text
    assert after[: len(before) // 2] == before[: len(before) // 2]
    assert "Free marks" in after
    assert f"slide.tiff201{HOSTILE}, A" in after  # two viable, none that is non-viable any more, one not sure
