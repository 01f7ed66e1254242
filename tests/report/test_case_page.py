from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.page import Page
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.quantify.cases import CaseNumber
from wsi_necrosis.report.case_page import _warnings, page_name, write_case_reports
from wsi_necrosis.report.cohort_page import write_cohort_report

HOSTILE = "<script>alert('x')</script>"


@pytest.fixture
def out(finished: Path) -> Path:
    """An output folder of one finished slide."""
    write_summary(finished.parents[1])
    return finished.parents[1]


def put_case(out: Path, name: str, outlines: Path | str | None = None, **changes: Any) -> None:
    """Write a case of that slide and of one that is not there."""
    grade = {"grade": None, "good": None, "reason": "not graded: too few", "probabilities": None}
    number = CaseNumber(
        source="model",
        status="scored",
        policy="tumour",
        estimator="by_class",
        definition=dict.fromkeys(("denominator", "tissue", "estimator", "target"), "said"),
        percent_viable=8.24,
        percent_necrosis=91.76,
        finding="no_viable",
        interval_reason="interval: not available (few)",
        tumour_mm2=3.0,
        counted=("slide.tiff",),
        incomplete={"lost.tiff": "failed: no level"},
    )
    slides = [
        {"slide_id": each, "problem": problem, "outlines": None if path is None else str(path)}
        for each, problem, path in (("slide.tiff", "", outlines), ("lost.tiff", "failed: no level", None))
    ]
    facts = {"case": name, "numbers": [{**number.to_dict(), "grades": {"huvos": grade}, **changes}]}
    (out / "cases.json").write_text(json.dumps({"cases": [{**facts, "slides": slides}]}))


def page_of(out: Path, name: str) -> Page:
    assert write_case_reports(out) == []
    return Page((out / "cases" / page_name(name)).read_text(encoding="utf-8"))


def test_number_slides_and_what_is_missing_are_shown(out: Path) -> None:
    put_case(out, "P1")
    page = page_of(out, "P1")
    for words in (
        "No viable tumour found; reads 8.2 % viable by the model", "91.8 %", "not available (few)",
        "not graded: too few",
        "the number is without lost.tiff (failed: no level)", "Viable foci", "Research use only",
    ):  # fmt: skip
        assert words in page.text
    before = (out / "cases" / "P1.html").read_bytes()
    assert write_case_reports(out) == []
    assert (out / "cases" / "P1.html").read_bytes() == before
    assert [facts["href"] for tag, facts in page.tags if tag == "a"] == ["../slides/slide.tiff/report.html"]
    assert "slide.tiff: class of each cell by the model" in labels(page)
    assert "As outlined" not in page.text
    write_cohort_report(out)
    assert 'href="cases/P1.html"' in (out / "report.html").read_text(encoding="utf-8")


def labels(page: Page) -> list[str | None]:
    return [facts.get("aria-label") for tag, facts in page.tags if tag == "svg"]


def test_outlines_lie_beside_the_model_and_both_percentages_are_of_the_same_tissue(out: Path) -> None:
    regions = out / "slides" / "slide.tiff" / "regions.geojson"
    put_case(out, "P1", regions)
    page = page_of(out, "P1")
    assert "slide.tiff: what was outlined" in labels(page)
    _, said = page.text.split("Of the outlined tissue: ")
    outlined, read = said.split(" % viable as outlined, ")
    assert read.startswith(f"{outlined} % viable by the model.")


def test_outlines_that_are_gone_or_of_unknown_classes_are_named(out: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "slide.geojson"
    for path in (drawn, None):
        put_case(out, "P1", drawn)
        assert "No picture of its outlines: " in page_of(out, "P1").text
        if path:
            geojson(drawn, [feature("Fat", square(0, 0, 9))])


def test_text_from_outside_is_text_and_every_page_lies_in_one_folder(out: Path) -> None:
    name = f"../{HOSTILE}"
    put_case(out, name)
    page = page_of(out, name)
    assert name in page.text
    assert "script" not in [tag for tag, _ in page.tags]
    assert [path.name for path in (out / "cases").iterdir()] == [page_name(name)]
    write_cohort_report(out)
    assert "script" not in [tag for tag, _ in Page((out / "report.html").read_text()).tags]


def test_a_damaged_slide_costs_its_picture_alone(out: Path) -> None:
    put_case(out, "P1")
    before = page_of(out, "P1").text
    shutil.rmtree(out / "slides" / "slide.tiff" / "tissue.zarr")
    assert "No picture: " in page_of(out, "P1").text
    assert "No picture: " not in before


def test_warnings_of_many_slides_are_said_once() -> None:
    said = {"a": "3 % is unlike", "b": "4 % is unlike", "c": "3 % is unlike"}
    results = [
        {"slide_id": name, "warnings": [{"code": "ood_tissue", "text": text}]} for name, text in said.items()
    ]
    (found,) = _warnings(results)
    assert (found.text, found.same, found.others) == ("3 % is unlike", ("a", "c"), ("b",))


def test_a_failing_page_fails_no_other(out: Path) -> None:
    put_case(out, "P1")
    cases = json.loads((out / "cases.json").read_text())["cases"]
    (out / "cases.json").write_text(
        json.dumps({"cases": [{**cases[0], "case": "P0", "slides": [{}]}, *cases]})
    )
    (failed,) = write_case_reports(out)
    assert failed.text.startswith("P0.html could not be written")
    assert (out / "cases" / "P1.html").is_file()
    (out / "cases.json").write_text("[]")
    assert write_case_reports(out) == []  # the report of the folder says so


def test_outlines_of_an_anonymised_slide_have_no_path(out: Path) -> None:
    put_case(out, "P1", outlines="")
    assert "no path of an anonymised slide is kept" in page_of(out, "P1").text
