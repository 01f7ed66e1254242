import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.page import Page
from tests.helpers.runs import material_of
from wsi_necrosis.export.export_slide import Material
from wsi_necrosis.inference.job import Job
from wsi_necrosis.report.slide_page import write_slide_report

HOSTILE = "<script>alert('x')</script>.svs"


@pytest.fixture
def material(job: Job) -> Material:
    return material_of(job)


def written(path: Path, material: Material, slide: Path | None = None) -> Page:
    write_slide_report(path, material, slide)
    return Page(path.read_text(encoding="utf-8"))


def test_the_report_holds_all_that_it_needs(job: Job) -> None:
    page = Page((job.folder / "report.html").read_text(encoding="utf-8"))
    names = [tag for tag, _ in page.tags]
    assert {"script", "link", "iframe", "object"}.isdisjoint(names)
    addresses = [value for _, facts in page.tags for key, value in facts.items() if key in {"src", "href"}]
    assert addresses
    assert all(str(each).startswith("data:image/jpeg;base64,") for each in addresses)
    policy = next(facts for tag, facts in page.tags if facts.get("http-equiv"))
    assert "default-src 'none'" in str(policy["content"])
    assert "Research use only" in page.text
    assert "No picture" not in page.text


def test_every_picture_has_a_text_and_headings_follow_one_another(job: Job) -> None:
    page = Page((job.folder / "report.html").read_text(encoding="utf-8"))
    for tag, facts in page.tags:
        if tag == "svg":
            assert facts.get("aria-label") or facts.get("aria-hidden")
    assert [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)][:2] == ["h1", "h2"]
    assert ("html", {"lang": "en"}) in page.tags


def test_number_areas_and_provenance_are_those_of_the_result(job: Job, material: Material) -> None:
    page = Page((job.folder / "report.html").read_text(encoding="utf-8"))
    result = material.result
    for each in result["warnings"]:
        assert each["text"] in page.text
    assert result["limit_of_blank_text"] in page.text
    assert f"{result['ledger']['mm2']['viable_soft']:.3f}" in page.text
    assert result["provenance"]["model"]["sha256"][:16] in page.text


def test_a_name_of_html_is_shown_as_text(material: Material, tmp_path: Path) -> None:
    result = {**material.result, "slide_id": HOSTILE, "manifest": {"case": HOSTILE}}
    page = written(tmp_path / "report.html", replace(material, result=result))
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count(HOSTILE) >= 3  # title, heading, case


def test_without_the_slide_the_report_says_what_is_missing(material: Material, tmp_path: Path) -> None:
    page = written(tmp_path / "report.html", material)
    assert "No picture: the slide was not there" in page.text


@pytest.mark.parametrize("reason", ["no_tissue", "undecided"])
def test_a_slide_without_a_number_says_why(material: Material, tmp_path: Path, reason: str) -> None:
    none = dict.fromkeys(("percent_viable", "percent_necrosis", "interval", "percent_viable_if_abstained"))
    said = {"status": "not_evaluable", "reason": reason, "interval_reason": "interval: not evaluable"}
    page = written(tmp_path / "report.html", replace(material, result={**material.result, **none, **said}))
    assert "Not evaluable: " in page.text
    assert "% necrosis. " not in page.text


def test_the_colour_profile_is_named(material: Material, tmp_path: Path) -> None:
    assert "none in the file" in written(tmp_path / "a.html", material).text
    slide = {**material.result["provenance"]["slide"], "icc_profile": "sRGB <b>"}
    result = {**material.result, "provenance": {**material.result["provenance"], "slide": slide}}
    assert "sRGB <b>, not applied" in written(tmp_path / "b.html", replace(material, result=result)).text


def test_under_the_tumour_bed_the_percentage_is_said_to_be_of_the_bed(
    material: Material, tmp_path: Path
) -> None:
    bed = {"viable_mm2": 2.0, "non_viable_mm2": 3.0, "non_tumour_mm2": 5.0, "percent_non_tumour": 50.0}
    changes: dict[str, object] = {
        "bed": bed,
        "policy": "tumour_bed",
        "percent_viable": 20.0,
        "percent_necrosis": 30.0,
    }
    changes |= {"percent_viable_soft": 20.0, "percent_viable_by_class": 21.0}
    result = {**material.result, **changes, "status": "scored", "finding": None}
    said = written(tmp_path / "report.html", replace(material, result=result)).text
    assert "30.0 % necrosis, 50.0 % other tissue." in said
    assert "over the area of all tissue inside the tumour bed, times 100: 2.00 of 10.00 mm²" in said
    assert material.result["definition"]["estimator"] in said
