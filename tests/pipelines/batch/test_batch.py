"""`wsi-necrosis batch` over slides of every quality."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.bad_slides import (
    DAMAGED_TILES,
    FAILURES,
    GOOD,
    NOT_EVALUABLE,
    SKIPPED,
    save_model_of_phantoms,
    write_bad_slides,
)
from tests.helpers.command import in_process
from tests.helpers.runs import FILES, SMALL_PICTURES, StopAfter
from wsi_necrosis.errors import InterruptedRunError, ModelError, ResultsDifferError, StoreError, UsageError
from wsi_necrosis.export import export_slide as exporting
from wsi_necrosis.pipelines.batch.batch import Options, batch, request_of
from wsi_necrosis.pipelines.batch.inputs import BatchSlide, Where
from wsi_necrosis.pipelines.console.batch_progress import QuietBatch
from wsi_necrosis.quantify.cases import HAS_AREAS
from wsi_necrosis.report.case_slides import case_slides, model_number
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom

THREADS = "cluster.processes=false"
LITTLE = "quantify.min_tumour_mm2=0.05"


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


def results(out: Path) -> dict[str, dict[str, object]]:
    """Every result below `out`, by the path of its folder."""
    found = sorted((out / "slides").rglob("result.json"))
    return {
        path.parent.relative_to(out / "slides").as_posix(): json.loads(path.read_text(encoding="utf-8"))
        for path in found
    }


def stamps(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (out / "slides").rglob("*")}


class Every:
    """The batch over the folder of slides of every quality."""

    def __init__(self, root: Path) -> None:
        self.folder, self.out, self.model = root / "in", root / "out", root / "model"
        self.folder.mkdir()
        save_model_of_phantoms(self.model)
        (root / "elsewhere").mkdir()
        write_bad_slides(self.folder, root / "elsewhere")
        self.first = self.run()

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        named = ["batch", str(self.folder), "-o", str(self.out), "--recursive", "--model", str(self.model)]
        return in_process(*named, "--set", THREADS, "--set", LITTLE, *options)


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Every:
    return Every(tmp_path_factory.mktemp("every"))


def test_every_good_slide_is_scored_and_some_failed(every: Every) -> None:
    assert every.first.returncode == 3, every.first.stderr
    found = results(every.out)
    assert set(found) == {*GOOD, DAMAGED_TILES, *NOT_EVALUABLE}
    for name in (*GOOD, DAMAGED_TILES):
        assert found[name]["status"] == "scored"
        assert {path.name for path in (every.out / "slides" / name).iterdir()} == FILES
        assert found[name]["path"] == str(every.folder / name)
        assert found[name]["slide_id"] == name
    codes = {name: {each["code"] for each in result["warnings"]} for name, result in found.items()}
    assert [name for name in found if "unreadable_cells" in codes[name]] == [DAMAGED_TILES]
    assert {name: found[name]["reason"] for name in NOT_EVALUABLE} == NOT_EVALUABLE


def test_every_failure_has_its_reason(every: Every) -> None:
    rows = {row["slide"]: row for row in table(every.out / "failures.csv")}
    assert set(rows) == set(FAILURES)
    for name, (stage, message) in FAILURES.items():
        assert rows[name]["stage"] == stage
        assert message in rows[name]["message"]
        assert rows[name]["path"] == str(every.folder / name)
        assert f"{name}: failed ({stage}): " in every.first.stderr
    assert "--mpp-table" in rows["no mpp.tiff"]["way_out"]
    assert not [name for name in FAILURES if (every.out / "slides" / name).exists()]


def test_its_case_is_the_sum_of_the_ledgers_and_names_what_failed(every: Every) -> None:
    found = model_number("", case_slides(every.out)[""])
    assert found is not None
    unfit = {name for name, reason in NOT_EVALUABLE.items() if reason not in HAS_AREAS}
    assert set(found.incomplete) == {*FAILURES, *unfit}
    for name, (_, message) in FAILURES.items():
        assert message in found.incomplete[name]
    ledgers = [each["ledger"]["mm2"] for name, each in results(every.out).items() if name not in unfit]  # type: ignore[index]
    viable, non_viable = (
        sum(each[f"{kind}_by_class"] for each in ledgers) for kind in ("viable", "non_viable")
    )
    assert found.percent_viable_by["by_class"] == pytest.approx(
        100 * viable / (viable + non_viable), rel=1e-9
    )


def test_outlines_go_with_their_slide(tmp_path: Path) -> None:
    slide = BatchSlide(tmp_path / "a.svs", "a.svs", roi=tmp_path / "r", tissue=tmp_path / "t")
    asked = request_of(slide, Options(tmp_path))
    assert (asked.roi, asked.tissue) == (slide.roi, slide.tissue)


def test_the_record_of_the_run_says_what_happened(every: Every) -> None:
    record = json.loads((every.out / "run.json").read_text(encoding="utf-8"))
    counts = {"slides": 13, "scored": 7, "not_evaluable": 2, "failed": 4, "up_to_date": 0}
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in (every.out / "runs").glob("*.json")]
    first = min(runs, key=lambda run: str(run["started"]))
    assert (first["state"], first["counts"]) == ("finished", counts)
    assert first["slides"]["CASE1/slide.tiff"]["results"] == "slides/CASE1/slide.tiff"
    assert record["settings"]["quantify"]["min_tumour_mm2"] == 0.05
    assert {Path(each["path"]).name for each in record["skipped"]} == set(SKIPPED)
    for name, reason in SKIPPED.items():
        assert f"{name} is left out: {reason}" in every.first.stderr.replace("by its name it is the ", "")
    assert {row["slide_id"] for row in table(every.out / "summary.csv")} == {
        *GOOD,
        DAMAGED_TILES,
        *NOT_EVALUABLE,
    }


def test_each_slide_has_its_own_log(every: Every) -> None:
    for name in GOOD:
        said = (every.out / "slides" / name / "log.txt").read_text(encoding="utf-8")
        assert said.count("slide ") == said.count(str(every.folder / name)) == 1
        assert "grid of" in said
    (log,) = (
        path for path in (every.out / "runs").glob("*.log") if "truncated" in path.read_text(encoding="utf-8")
    )
    assert "text.svs failed" in log.read_text(encoding="utf-8")


def test_the_same_command_does_nothing_again(every: Every) -> None:
    before = stamps(every.out)
    done = every.run("--json")
    assert done.returncode == 3
    assert stamps(every.out) == before
    lines = {line["slide_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert set(lines) == {*GOOD, DAMAGED_TILES, *NOT_EVALUABLE, *FAILURES}
    assert lines[GOOD[0]]["results"] == f"slides/{GOOD[0]}"
    assert (lines["empty.svs"]["status"], lines["empty.svs"]["stage"]) == ("failed", "open")
    assert {row["slide"] for row in table(every.out / "failures.csv")} == set(FAILURES)


def test_a_changed_pixel_size_stops_before_any_work(every: Every) -> None:
    before = stamps(every.out)
    done = every.run("--mpp", "0.4")
    assert done.returncode == 2
    assert "9 of 13 slides have results" in done.stderr
    for name in (*GOOD, *NOT_EVALUABLE):
        assert f"{name} holds scores made from other inputs (slide.mpp_x: 0.5 -> 0.4" in done.stderr
    assert stamps(every.out) == before


def test_a_dry_run_says_what_would_be_done(every: Every) -> None:
    before = stamps(every.out)
    done = every.run("--dry-run")
    assert done.returncode == 0
    assert f"{GOOD[0]}: 1600 x 1600 px of 0.5 x 0.5 um (TIFF resolution), tissue 0." in done.stdout
    assert "no mpp.tiff: would fail: " in done.stdout
    assert "13 slides, 9 of which are up to date and 4 would fail" in done.stdout
    assert stamps(every.out) == before


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder of two small slides and, between them, a file that is none."""
    (tmp_path / "few").mkdir()
    for name in "ac":
        write_phantom(tmp_path / "few" / f"{name}.tiff", side_mm=0.5)
        with (tmp_path / "few" / f"{name}.tiff").open("ab") as stream:
            stream.write(name.encode())
    (tmp_path / "few" / "b.tiff").write_text("no slide")
    return tmp_path / "few"


def run(named: Path, out: Path, *overrides: str, watcher: QuietBatch | None = None, **options: object) -> int:
    settings = load_settings(overrides=["model.name=phantom", THREADS, SMALL_PICTURES, *overrides])
    return batch([str(named)], settings, Options(out, **options), watcher or QuietBatch())  # type: ignore[arg-type]


def test_exit_codes_tell_none_some_and_all(few: Path, tmp_path: Path) -> None:
    notes = Notes()
    assert run(few, tmp_path / "out", where=Where("b.tiff"), watcher=notes) == 4
    assert notes.told == [f"what failed is in {tmp_path / 'out' / 'failures.csv'}"]
    assert run(few, tmp_path / "out", where=Where("[ab].tiff")) == 3
    assert run(few, tmp_path / "out", where=Where("a.tiff")) == 0


def test_a_changed_threshold_scores_nothing(few: Path, tmp_path: Path) -> None:
    run(few, tmp_path / "out")
    scores = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.zarr/**/*")}
    assert {each["status"] for each in results(tmp_path / "out").values()} == {"not_evaluable"}
    run(few, tmp_path / "out", "quantify.min_tumour_mm2=0.01")
    assert {each["status"] for each in results(tmp_path / "out").values()} == {"scored"}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("scores.zarr/**/*")} == scores


def test_overwrite_replaces_what_differs_and_keeps_the_rest(few: Path, tmp_path: Path) -> None:
    out, size = tmp_path / "out", tmp_path / "sizes.csv"
    run(few, out)
    before = stamps(out)
    size.write_text("name,mpp_x\na.tiff,0.4\nnone.svs,1\n")
    with pytest.raises(ResultsDifferError, match=r"1 of 3 slides(?s:.*)a\.tiff holds"):
        run(few, out, where=Where(mpp_table=size))
    assert run(few, out, where=Where(mpp_table=size), overwrite=True) == 3
    assert results(out)["a.tiff"]["provenance"]["slide"]["mpp_x"] == 0.4  # type: ignore[index]
    kept = {path: stamp for path, stamp in before.items() if "c.tiff" in path.parts}
    assert kept.items() <= stamps(out).items()
    before = stamps(out)
    assert run(few, out, where=Where(mpp_table=size), overwrite=True) == 3  # what it made is kept
    assert stamps(out) == before


def test_a_manifest_is_kept_and_its_change_is_written(few: Path, tmp_path: Path) -> None:
    out, manifest = tmp_path / "out", tmp_path / "m.csv"
    manifest.write_text("path;slide_id;case;role\nfew/a.tiff;=S1;C1;slab\nfew/c.tiff;S2;C1;biopsy\n")
    assert run(manifest, out) == 0
    assert results(out)["=S1"]["manifest"] == {"case": "C1", "role": "slab"}
    rows = {row["path"]: row for row in table(out / "summary.csv")}
    assert (rows[str(few / "c.tiff")]["role"], rows[str(few / "c.tiff")]["slab"]) == ("biopsy", "")
    manifest.write_text("path;slide_id;case\nfew/a.tiff;=S1;C9\nfew/c.tiff;S2;C1\n")
    assert run(manifest, out) == 0
    assert results(out)["=S1"]["manifest"] == {"case": "C9"}


def test_fail_fast_stops_at_the_first_failure(few: Path, tmp_path: Path) -> None:
    """The two slides after the one that fails are under way by then; of these what is all scored is finished."""
    for name in "defgh":
        shutil.copyfile(few / "c.tiff", few / f"{name}.tiff")
    assert run(few, tmp_path / "out", fail_fast=True) == 3
    assert {"a.tiff"} <= set(results(tmp_path / "out")) <= {"a.tiff", "c.tiff", "d.tiff"}
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["scored"] <= 1


class Notes(QuietBatch):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, text: str) -> None:
        self.told.append(text)


def test_an_export_that_fails_is_a_row_and_fails_no_slide(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, notes = tmp_path / "out", Notes()
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "write_overlay", lambda *given: 1 / 0)
        assert run(few, out, where=Where("a.tiff"), watcher=notes) == 0
    told, results_in = notes.told
    assert told.startswith("a.tiff: overlay.png could not be written: ")
    assert told.endswith("; run the slide again: its scores are kept")
    assert results_in == f"results are in {out / 'summary.csv'}; what failed is in {out / 'failures.csv'}"
    (row,) = table(out / "failures.csv")
    assert (row["slide"], row["stage"], row["error"]) == ("a.tiff", "export", "export_failed")
    assert "overlay.png could not be written" in row["message"]
    assert run(few, out, where=Where("a.tiff")) == 0  # the missing file is made
    assert table(out / "failures.csv") == []
    assert (out / "slides" / "a.tiff" / "overlay.png").is_file()


class Stop(QuietBatch):
    """Interrupts within the second slide, as Ctrl-C would."""

    def __init__(self) -> None:
        self.slides = StopAfter(2)

    def folder_ready(self, folder: Path) -> None:
        self.slides.scored(0)


def test_an_interrupted_batch_says_so_and_goes_on(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(InterruptedRunError, match="2 of 3 slides were done"):
        run(few, out, watcher=Stop())
    record = json.loads((out / "run.json").read_text())
    assert (record["state"], record["counts"]["failed"]) == ("interrupted", 1)
    assert [row["slide_id"] for row in table(out / "summary.csv")] == ["a.tiff"]
    assert run(few, out) == 3
    assert set(results(out)) == {"a.tiff", "c.tiff"}


def test_what_is_wrong_with_the_request_leaves_nothing(few: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ModelError, match="no model"):
        run(few, out, "model.name=none")
    with pytest.raises(UsageError, match=r"no slide in .*few"):
        run(few, out, where=Where("*.ndpi"))
    assert not out.exists()
    out.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        run(few, out)


def test_a_folder_is_no_slide_for_run(few: Path, tmp_path: Path) -> None:
    done = in_process("run", str(few), "-o", str(tmp_path / "out"))
    assert done.returncode == 2
    assert f"wsi-necrosis batch {few} -o {tmp_path / 'out'}" in done.stderr
    done = in_process("run", str(few), "--dry-run")
    assert (done.returncode, f"wsi-necrosis batch {few} -o OUT" in done.stderr) == (2, True)
    shutil.rmtree(few)
    few.mkdir()
    assert in_process("batch", str(few), "-o", str(tmp_path / "out")).returncode == 2
