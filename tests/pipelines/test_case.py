from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.helpers.annotations import feature, geojson, square
from tests.helpers.case_results import manifest, put, result_of
from tests.helpers.command import in_process


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name, viable in (("a", 100), ("b", 300)):
        put(tmp_path, result_of(name, viable, 300, manifest={"case": "1"}))
    return tmp_path


def test_cases_of_a_manifest_are_told_and_written(out: Path) -> None:
    rows = [
        {"path": name, "case": "1", "role": role}
        for name, role in zip("abcd", ("slab", "", "", "margin"), strict=True)
    ]
    listed = manifest(out / "m.csv", rows)
    said = in_process("case", str(listed), "-o", str(out), "--grade", "huvos", "--grade", "euramos").stdout
    for part in (
        "case 1", "40.0 % viable", "fewer than 5 slides", "mean of the slides 37.5 %", "2 slides",
        "incomplete (by the model): c: not analysed yet", "left out by role: d (margin)",
        "huvos: not graded: the case is incomplete", "denominator: viable and non-viable tumour",
    ):  # fmt: skip
        assert part in said
    with (out / "cases.csv").open(encoding="utf-8-sig") as file:
        (row,) = csv.DictReader(file)
    assert (row["case"], row["source"], row["complete"], row["percent_viable"]) == (
        "1",
        "model",
        "no",
        "40.0",
    )
    assert row["grade_euramos"] == "not graded: the case is incomplete"
    (case,) = json.loads((out / "cases.json").read_text())["cases"]
    assert case["numbers"][0]["percent_viable"] == 40
    assert [slide["problem"] for slide in case["slides"]] == ["", "", "not analysed yet", "not analysed yet"]
    assert in_process("case", str(out), "--json").stdout != ""


def test_outlines_stand_beside_the_model_and_are_graded_alone(tmp_path: Path) -> None:
    rows = [{"path": "a.svs", "case": "1", "mpp_x": "0.5", "mpp_y": "0.5"}]
    listed = manifest(tmp_path / "m.csv", rows)
    areas = [feature("Tumor", square(0, 0, 1000, 1000)), feature("Necrosis", square(0, 1000, 3000))]
    (tmp_path / "drawn").mkdir()
    geojson(tmp_path / "drawn" / "a.geojson", areas)
    arguments = ["case", str(listed), "-o", str(tmp_path / "out"), "--annotations", str(tmp_path / "drawn")]
    said = in_process(*arguments, "--grade", "huvos").stdout
    assert "as outlined        10.0 % viable" in said
    assert "huvos: III" in said  # exactly 90 % necrosis
    with (tmp_path / "out" / "cases.csv").open(encoding="utf-8-sig") as file:
        (row,) = csv.DictReader(file)
    assert (row["source"], row["grade_huvos"], row["good_huvos"]) == ("drawn", "III", "yes")
    assert (row["viable_by_class_mm2"], row["background_mm2"]) == ("0.25", "")


def test_what_cannot_be_done_is_said(out: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, said in (
        ([str(empty)], "holds no results"),
        ([str(out), "--review", "none"], "is not there"),
        ([str(out), "--grade", "none"], "no grade scheme 'none'; give ccg-pog, euramos"),
        ([str(out), "--policy", "tumour_bed"], "--policy is of outlines"),
        ([str(out), "--reader", "A"], "--reader is of a review"),
        ([str(out), "--annotations", str(out / "none")], "is no folder"),
        ([str(manifest(out / "m.csv", [{"path": "z", "case": "1"}])), "-o", str(out)], "run the batch first"),
    ):
        found = in_process("case", *arguments)
        assert found.returncode == 2
        assert said in found.stderr


def test_a_case_without_any_result_does_not_end_the_others(out: Path) -> None:
    rows = [{"path": "a", "case": "1"}, {"path": "z", "case": "2"}]
    said = in_process("case", str(manifest(out / "m.csv", rows)), "-o", str(out), "--grade", "huvos").stdout
    for part in (
        "25.0 % viable", "case 2", "not evaluable: no slide that counts was measured", "z: not analysed yet",
        "limit of full", "target: ",
    ):  # fmt: skip
        assert part in said
    with (out / "cases.csv").open(encoding="utf-8-sig") as file:
        first, second = csv.DictReader(file)
    assert first["definition"].startswith("denominator: ")
    assert (second["percent_viable"], second["complete"]) == ("", "no")


def test_slides_that_differ_in_their_tissue_are_told_apart(tmp_path: Path) -> None:
    for name, tissue in (("a", "on the whole slide"), ("b", "inside the region")):
        result = result_of(name, 100, 300, manifest={"case": "1"})
        put(tmp_path, {**result, "definition": {**result["definition"], "tissue": tissue}})
    assert "tissue: on the whole slide (a); inside the region (b)" in in_process("case", str(tmp_path)).stdout
