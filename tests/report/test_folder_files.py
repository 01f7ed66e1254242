from pathlib import Path

import pytest

from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.report import folder_files
from wsi_necrosis.report.folder_files import make_all_again, require_formats, write_common_files


def test_files_of_slides_and_of_the_folder_are_made(finished: Path) -> None:
    out = finished.parents[1]
    write_summary(out)
    assert make_all_again(out, ["csv", "geojson", "report", "csv"]) == (1, [])
    assert {"report.html", "qupath_import.groovy"} <= {path.name for path in out.iterdir()}
    assert (finished / "tiles.csv").exists()


def test_the_folder_of_one_slide_is_enough(finished: Path) -> None:
    assert make_all_again(finished, ["csv"]) == (1, [])
    assert not (finished / "qupath_import.groovy").exists()


def test_a_damaged_slide_does_not_end_the_others(finished: Path) -> None:
    (finished / "result.json").write_text("{}")
    n, (fault,) = make_all_again(finished.parents[1], ["csv"])
    assert n == 1
    assert fault.startswith(f"{finished}: ")


def test_a_failing_common_file_fails_no_other(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_files, "write_cohort_report", lambda out: 1 / 0)
    (failed,) = write_common_files(finished.parents[1], ["report", "geojson"])
    assert failed.code == "export_failed"
    assert (finished.parents[1] / "qupath_import.groovy").exists()


def test_what_cannot_be_done_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--to pdf: give one or more of report, geojson"):
        require_formats(["pdf", "csv"])
    with pytest.raises(UsageError, match="holds no results of slides"):
        make_all_again(tmp_path, ["csv"])
