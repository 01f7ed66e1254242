import csv
import json
import os
from pathlib import Path

import pytest

from wsi_necrosis.errors import PixelSizeError, SlideError, StoreError
from wsi_necrosis.pipelines.batch.inputs import BatchSlide, Gathered
from wsi_necrosis.pipelines.batch.records import RunRecord, failures_of, write_failures
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.settings.run import load_settings

A, B = BatchSlide(Path("/in/a.svs"), "a.svs"), BatchSlide(Path("/in/b.svs"), "b.svs")


def report(*codes: str) -> SlideReport:
    warnings = [{"code": code, "text": f"of {code}"} for code in codes]
    return SlideReport(Path("out"), {"status": "scored", "warnings": warnings}, load_settings())


def record(out: Path) -> RunRecord:
    return RunRecord(out, load_settings().model_dump(), ["wsi-necrosis", "batch"], Gathered((A, B)))


def slides_failed(out: Path) -> list[str]:
    with (out / "failures.csv").open(encoding="utf-8-sig", newline="") as stream:
        return [row["slide"] for row in csv.DictReader(stream)]


def test_a_message_is_split_into_fact_and_way_out() -> None:
    error = SlideError("a.svs is empty; twice; copy it again")
    error.stage = "open"
    (failure,) = failures_of(A, error)
    assert (failure.message, failure.way_out) == ("a.svs is empty; twice", "copy it again")
    assert (failure.stage, failure.error, failure.path) == ("open", "SlideError", "/in/a.svs")
    (failure,) = failures_of(A, SlideError("no more to say"))
    assert (failure.message, failure.way_out) == ("no more to say", "")
    (failure,) = failures_of(A, PixelSizeError("a.svs carries no pixel size; give --mpp"))
    assert failure.way_out == "give --mpp, or a table with --mpp-table"


def test_only_exports_fail_where_there_is_a_result() -> None:
    assert failures_of(A, report("undecided")) == []
    (failure,) = failures_of(A, report("undecided", "export_failed"))
    assert (failure.stage, failure.message) == ("export", "of export_failed")


def test_counts_and_states_are_written(tmp_path: Path) -> None:
    run = record(tmp_path)
    run.add(A, report(), was_done=True)
    run.write()
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "running"
    run.add(B, SlideError("b; c"))
    run.write("finished")
    found = json.loads((tmp_path / "runs" / f"{run.run_id}.json").read_text())
    counts = {"slides": 2, "scored": 1, "not_evaluable": 0, "failed": 1, "up_to_date": 1}
    assert (found["state"], found["counts"], run.done, run.failed) == ("finished", counts, 1, 1)
    assert found["ended"] >= found["started"]
    assert not run.is_due()


def test_the_last_run_decides_what_failed(tmp_path: Path) -> None:
    first, second = record(tmp_path), record(tmp_path)
    first.add(A, SlideError("a; x"))
    first.add(B, SlideError("b; x"))
    first.write("finished")
    assert slides_failed(tmp_path) == ["a.svs", "b.svs"]
    second.add(A, report())
    second.write("finished")
    assert slides_failed(tmp_path) == ["b.svs"]
    (tmp_path / "runs" / "damaged.json").write_text("{")
    write_failures(tmp_path)
    assert slides_failed(tmp_path) == ["b.svs"]


def test_a_slide_that_was_analysed_since_has_not_failed(tmp_path: Path) -> None:
    run = record(tmp_path)
    result = tmp_path / "slides" / "a.svs" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text("{}")
    os.utime(result, (1, 1))  # long before
    run.add(A, SlideError("a; x"))
    run.write("finished")
    assert slides_failed(tmp_path) == ["a.svs"]
    os.utime(result, (2**33, 2**33))
    write_failures(tmp_path)
    assert slides_failed(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(StoreError, match="out cannot be written"):
        record(tmp_path / "out").write()


def test_half_written_records_of_killed_runs_are_deleted_in_time(tmp_path: Path) -> None:
    """Not at once: another process may be writing."""
    (tmp_path / "runs").mkdir()
    old, new = (tmp_path / "runs" / f".{name}.json.1.2.partial" for name in ("old", "new"))
    for path in (old, new, tmp_path / ".run.json.1.2.partial"):
        path.write_text("{")
    os.utime(old, (0, 0))
    os.utime(tmp_path / ".run.json.1.2.partial", (0, 0))
    record(tmp_path).write("finished")
    assert [*tmp_path.rglob(".*")] == [new]
