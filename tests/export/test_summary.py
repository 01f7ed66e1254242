import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wsi_necrosis.export import summary
from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.provenance import RESULT_VERSION

AREAS = {
    f"{name}_{way}": area
    for name, area in (("non_tumour", 2.5), ("non_viable", 3.75), ("viable", 1.25))
    for way in ("by_class", "soft")
}
RESULT = {
    "schema_version": RESULT_VERSION,
    "slide_id": "b.svs",
    "path": "/slides/b, with a comma.svs",
    "status": "scored",
    "reason": None,
    "n_tiles": 12,
    "ledger": {"mm2": {"background": 1 / 3} | AREAS},
    "tumour_mm2": 5.0,
    "viable_mm2": 1.25,
    "non_viable_mm2": 3.75,
    "non_tumour_mm2": 2.5,
    "ood_mm2": 0.5,
    "defocus_mm2": 0.25,
    "percent_viable": 25.0,
    "percent_necrosis": 75.0,
    "estimator": "by_class",
    "policy": "tumour",
    "definition": {"denominator": "all tumour", "target": "what was scanned"},
    "bed": None,
    "percent_viable_without_small_foci": None,
    "n_foci": 3,
    "largest_focus_mm": 1.25,
    "percent_viable_soft": 37.5,
    "percent_viable_by_class": 25.0,
    "finding": None,
    "percent_viable_if_abstained": {"all_non_viable": 24.0, "all_viable": 28.0},
    "limit_of_blank": {"mean": 21.0, "limit": 38.0, "cases": 2},
    "limit_of_full": None,
    "decision": {"top_prob": 0.71, "entropy": 0.6},
    "interval": {"low": 10.0, "high": 40.0, "covers_classifier": True},
    "warnings": [{"code": "undecided", "text": "a, b; c"}, {"code": "ood_tissue", "text": "d"}],
    "provenance": {
        "inputs": {"slide": {"fingerprint": "abc"}},
        "slide": {"mpp_x": 0.5, "mpp_y": 0.25, "mpp_source": "metadata"},
        "model": {"name": "default", "sha256": "ab12"},
        "versions": {"wsi-necrosis": "0.1.0"},
    },
}


def put(out: Path, name: str, **changes: object) -> None:
    folder = out / "slides" / name
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RESULT | {"slide_id": name} | changes))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "summary.csv").open(newline="", encoding="utf-8-sig") as handle:
        return list(csv.DictReader(handle))


def test_a_row_per_result_sorted_and_rebuilt(tmp_path: Path) -> None:
    put(tmp_path, "b.svs")
    put(
        tmp_path, "deep/a.svs", status="not_evaluable", reason="no_tissue", interval=None, percent_viable=None
    )
    write_summary(tmp_path)
    write_summary(tmp_path)
    first, second = rows(tmp_path)
    assert (first["slide_id"], second["slide_id"]) == ("b.svs", "deep/a.svs")
    assert (first["path"], first["viable_mm2"], first["ci_low"]) == (
        "/slides/b, with a comma.svs",
        "1.25",
        "10.0",
    )
    assert (first["warnings"], first["model_sha256"]) == ("undecided;ood_tissue", "ab12")
    assert (first["background_mm2"], first["tumour_mm2"]) == ("0.333333", "5.0")  # six digits
    assert (first["estimator"], first["percent_viable_soft"], first["percent_viable_by_class"]) == (
        "by_class",
        "37.5",
        "25.0",
    )
    assert (first["limit_of_blank"], first["limit_of_full"], first["finding"]) == ("38.0", "", "")
    assert (first["top_prob"], first["entropy"]) == ("0.71", "0.6")
    assert (first["if_abstained_all_non_viable"], first["if_abstained_all_viable"]) == ("24.0", "28.0")
    assert (second["reason"], second["percent_viable"], second["ci_low"]) == ("no_tissue", "", "")


def test_an_interval_without_classifier_error_has_columns_of_its_own(tmp_path: Path) -> None:
    put(tmp_path, "a.svs", interval={"low": 10.0, "high": 40.0, "covers_classifier": False})
    write_summary(tmp_path)
    (row,) = rows(tmp_path)
    assert [row[name] for name in ("ci_low", "ci_high", "sampling_low", "sampling_high")] == [
        "",
        "",
        "10.0",
        "40.0",
    ]


def test_a_slide_out_of_domain_says_so(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("interval", "percent_viable", "percent_viable_if_abstained", "decision"))
    put(tmp_path, "a.svs", status="not_evaluable", reason="out_of_domain", **nothing)
    write_summary(tmp_path)
    (row,) = rows(tmp_path)
    assert (row["status"], row["reason"]) == ("not_evaluable", "out_of_domain")
    assert row["percent_viable"] == row["ci_low"] == row["ci_high"] == row["top_prob"] == ""


def test_results_of_an_older_schema_are_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(tmp_path, "new.svs")
    put(tmp_path, "old.svs", schema_version=1)
    write_summary(tmp_path)
    assert [row["slide_id"] for row in rows(tmp_path)] == ["new.svs"]
    assert "old.svs" in caplog.text
    assert f"schema version is 1, not {RESULT_VERSION}" in caplog.text


def test_a_damaged_result_is_left_out_and_nothing_gives_no_file(tmp_path: Path) -> None:
    (tmp_path / "slides").mkdir()
    write_summary(tmp_path)
    assert not (tmp_path / "summary.csv").exists()
    put(tmp_path, "a.svs")
    put(tmp_path, "b.svs")
    (tmp_path / "slides" / "b.svs" / "result.json").write_text("{")
    put(tmp_path, "c.svs", schema_version=0)
    put(tmp_path, "d.svs")
    (tmp_path / "slides" / "d.svs" / "result.json").write_text("[]")
    write_summary(tmp_path)
    assert [row["slide_id"] for row in rows(tmp_path)] == ["a.svs"]


def test_unchanged_results_are_not_read_again_and_changed_ones_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.svs")
    put(tmp_path, "b.svs")
    write_summary(tmp_path)
    read = []
    parse = summary._result
    (tmp_path / ".summary.csv.1.2.partial").write_text("half")
    monkeypatch.setattr(summary, "_result", lambda path: read.append(path.parent.name) or parse(path))
    put(tmp_path, "c.svs")
    (tmp_path / "slides" / "b.svs" / "result.json").write_text(json.dumps({**RESULT, "slide_id": "changed"}))
    shutil.rmtree(tmp_path / "slides" / "a.svs")
    write_summary(tmp_path)
    assert read == ["b.svs", "c.svs"]
    assert [row["slide_id"] for row in rows(tmp_path)] == ["c.svs", "changed"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".summary.json", "slides", "summary.csv"]


@pytest.mark.parametrize("text", ["", "[]", '{"version": "0"}'])
def test_kept_rows_that_are_damaged_are_made_again(tmp_path: Path, text: str) -> None:
    put(tmp_path, "a.svs")
    write_summary(tmp_path)
    (tmp_path / ".summary.json").write_text(text)
    (tmp_path / "summary.csv").unlink()
    write_summary(tmp_path)
    assert [row["slide_id"] for row in rows(tmp_path)] == ["a.svs"]


def test_kept_rows_that_were_changed_are_made_again(tmp_path: Path) -> None:
    put(tmp_path, "a.svs")
    write_summary(tmp_path)
    kept = tmp_path / ".summary.json"
    kept.write_text(kept.read_text().replace('"slide_id": "a.svs"', '"slide_id": "b.svs"'))
    write_summary(tmp_path)
    assert [row["slide_id"] for row in rows(tmp_path)] == ["a.svs"]


def test_no_row_outlives_the_last_result(tmp_path: Path) -> None:
    put(tmp_path, "a.svs")
    write_summary(tmp_path)
    shutil.rmtree(tmp_path / "slides" / "a.svs")
    write_summary(tmp_path)
    assert not (tmp_path / "summary.csv").exists()


def test_work_in_progress_is_no_result(tmp_path: Path) -> None:
    put(tmp_path, "a.svs")
    put(tmp_path, ".b.svs.work/token/results")
    write_summary(tmp_path)
    assert [row["slide_id"] for row in rows(tmp_path)] == ["a.svs"]


WRITER = """
import json, sys
from pathlib import Path
from wsi_necrosis.export import summary
from wsi_necrosis.export.summary import write_summary
out, result = Path(sys.argv[1]), Path(sys.argv[2]).read_text()
for at in range(int(sys.argv[4])):
    folder = out / "slides" / f"{sys.argv[3]}-{at}.svs"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(result)
    write_summary(out)
"""


def test_writers_at_the_same_time_lose_no_row(tmp_path: Path) -> None:
    """After each of its results a process asks for the table; at the end every result has its row."""
    (tmp_path / "result").write_text(json.dumps(RESULT))
    n_writers, n_slides = 3, 30
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, tmp_path / "out", tmp_path / "result", str(at), str(n_slides)]
        )
        for at in range(n_writers)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0] * n_writers
    assert len(rows(tmp_path / "out")) == n_writers * n_slides
