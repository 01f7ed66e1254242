from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.case_results import manifest, put, result_of
from wsi_necrosis.errors import UsageError
from wsi_necrosis.report.case_slides import case_slides, model_number


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two finished slides of case 1, and a batch that failed on a third and was not through with a fourth."""
    for name, viable in (("a", 100), ("b", 300)):
        put(tmp_path, result_of(name, viable, 300, manifest={"case": "1", "block": name}))
    failed = {"message": "c.svs is damaged", "way_out": "scan it again"}
    record = {
        "started": "2026-01-01",
        "asked": {name: {"case": "1"} for name in "abcd"},
        "slides": {"a": {"failures": []}, "c": {"failures": [failed]}},
    }
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "one.json").write_text(json.dumps(record))
    return tmp_path


def test_a_folder_of_results_names_what_failed_and_what_is_missing(out: Path) -> None:
    (slides,) = case_slides(out).values()
    assert [(slide.name, slide.block) for slide in slides] == [("a", "a"), ("b", "b"), ("c", ""), ("d", "")]
    found = model_number("1", slides)
    assert found is not None
    assert found.incomplete == {"c": "failed: c.svs is damaged", "d": "not analysed yet"}
    assert found.percent_viable == 100 * 400 / 1000


def test_a_manifest_decides_which_slides_make_a_case(out: Path) -> None:
    rows = [
        {"path": "a", "case": "1", "role": "slab"},
        {"path": "b", "case": "2", "role": ""},
        {"path": "x.svs", "slide_id": "c", "case": "2"},
    ]
    found = case_slides(out, manifest(out / "m.csv", rows))
    assert {case: [slide.name for slide in slides] for case, slides in found.items()} == {
        "1": ["a"],
        "2": ["b", "c"],
    }
    assert found["2"][1].problem == "failed: c.svs is damaged"
    assert found["1"][0].path == out / "a"


def test_equal_content_twice_names_and_missing_cases_are_refused(out: Path) -> None:
    put(out, result_of("e", 1, 1) | {"provenance": result_of("a", 1, 1)["provenance"]})
    rows = [{"path": name, "case": "1"} for name in "ae"]
    with pytest.raises(UsageError, match="a and e"):
        case_slides(out, manifest(out / "m.csv", rows))
    with pytest.raises(UsageError, match="lists 'a' twice"):
        case_slides(out, manifest(out / "m.csv", [rows[0], rows[0]]))
    with pytest.raises(UsageError, match="names no case for 'b'"):
        case_slides(out, manifest(out / "m.csv", [rows[0], {"path": "b"}]))
    with pytest.raises(UsageError, match="holds no results"):
        case_slides(out / "slides" / "none")


def test_slides_without_any_case_are_one(tmp_path: Path) -> None:
    for name in "ab":
        put(tmp_path, result_of(name, 1, 1))
    assert {case: len(slides) for case, slides in case_slides(tmp_path).items()} == {"": 2}


def test_slides_that_were_measured_otherwise_are_refused(out: Path) -> None:
    other = result_of("b", 1, 1, manifest={"case": "1"})
    other["provenance"]["model"]["sha256"] = "cd"
    put(out, other)
    (slides,) = case_slides(out).values()
    with pytest.raises(UsageError, match=r"model\.sha256: ab -> cd"):
        model_number("1", slides)


def test_results_that_cannot_be_read_are_missing(out: Path) -> None:
    put(out, result_of("b", 1, 1, schema_version=1))
    rows = [{"path": name, "case": "1"} for name in "ab"]
    (slides,) = case_slides(out, manifest(out / "m.csv", rows)).values()
    found = model_number("1", slides)
    assert found is not None
    assert "schema version 1" in found.incomplete["b"]
