"""`analyse` from slide to report, on phantoms whose truth is known."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from tests.helpers.faults import FailingReads
from tests.helpers.phantom_model import phantom_network, phantom_spec
from tests.helpers.runs import OUTPUTS, PHANTOM, WAYS, StopAfter, run, trees_equal
from wsi_necrosis.analysis import analyse
from wsi_necrosis.claims import claimed, unfinished
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import (
    ClaimedError,
    ClaimLostError,
    FailedBlocksError,
    InterruptedRunError,
    ModelError,
    ResultsDifferError,
    SettingsError,
    SlideChangedError,
    SlideError,
    StoreError,
    UsageError,
)
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe as describe_tiles
from wsi_necrosis.model.spec import load_spec, model_folder
from wsi_necrosis.pipelines.console.printout import describe
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.report.verify import verify_slide
from wsi_necrosis.scores.block_scores import BlockScores, CellState
from wsi_necrosis.scores.store import STORE_VERSION, ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import PhantomTruth, phantom_tiles, write_phantom


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small phantom for tests of behaviour."""
    path = tmp_path_factory.mktemp("small") / "small phantom ü.tiff"
    write_phantom(path, np.random.default_rng(7), side_mm=1.1)
    return path


@pytest.fixture(scope="module")
def uninterrupted(small: Path, tmp_path_factory: pytest.TempPathFactory) -> SlideReport:
    """The small phantom's results by one worker, without an interruption."""
    return run(small, tmp_path_factory.mktemp("uninterrupted") / "slide", "cluster.workers=1")


@pytest.fixture(scope="module", params=[(1, Mpp(0.5, 0.5)), (2, Mpp(0.5, 0.25)), (3, Mpp(0.46, 0.46))])
def painted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, PhantomTruth]:
    """Phantoms of three seeds and pixel sizes; their shapes are 16 to 37 tiles across."""
    seed, mpp = request.param
    path = tmp_path_factory.mktemp("painted") / "phantom.tiff"
    truth = write_phantom(path, np.random.default_rng(seed), side_mm=2.5, mpp=mpp)
    across = [2 * shape.radius_um / 32 for shape in truth.shapes if shape.name != "focus"]
    assert min(across) > 15
    return path, truth


@pytest.mark.slow
def test_areas_and_percentage_are_the_painted_ones_at_strides_of_a_tile_and_of_half_a_tile(
    tmp_path: Path, painted: tuple[Path, PhantomTruth]
) -> None:
    slide, truth = painted
    found = []
    for stride in (1.0, 0.5):
        result = run(slide, tmp_path / f"{stride}", f"grid.stride_tiles={stride}").result
        for kind in ("soft", "by_class"):
            areas = {name: result["ledger"]["mm2"][f"{name}_{kind}"] for name in CLASSES}
            assert areas == pytest.approx(truth.area_mm2, rel=0.01)
        assert result["percent_viable"] == pytest.approx(truth.percent_viable, abs=1)
        assert sum(result["ledger"]["px"].values()) == result["ledger"]["total_px"]
        found.append([result["percent_viable_soft"], result["percent_viable_by_class"]])
    assert found[0] == pytest.approx(found[1], abs=0.5)


def test_the_folder_holds_every_output(uninterrupted: SlideReport) -> None:
    assert {path.name for path in uninterrupted.folder.iterdir()} == OUTPUTS
    assert json.loads((uninterrupted.folder / "result.json").read_text()) == uninterrupted.result
    perf = json.loads((uninterrupted.folder / "perf.json").read_text())
    assert perf["tiles"] == uninterrupted.result["n_tiles"] > 0
    assert set(perf["worker_seconds"]) == {"open", "read", "radiomics", "network", "write", "waiting"}
    assert 1 <= perf["decoded_over_needed"] < 2


def test_every_pixel_of_the_plane_is_in_the_ledger(uninterrupted: SlideReport, small: Path) -> None:
    ledger = uninterrupted.result["ledger"]
    assert sum(ledger["px"].values()) == ledger["total_px"] == 275**2  # 1.1 mm at 4 um
    assert ledger["total_px"] * ledger["pixel_mm2"] == pytest.approx(1.21)


@pytest.mark.parametrize("how", WAYS)
def test_threads_and_processes_give_the_same_bits(
    small: Path, uninterrupted: SlideReport, tmp_path: Path, how: list[str]
) -> None:
    other = run(small, tmp_path / "slide", *how)
    assert trees_equal(other.folder / "scores.zarr", uninterrupted.folder / "scores.zarr")
    assert trees_equal(other.folder / "blocks", uninterrupted.folder / "blocks")
    assert other.result == uninterrupted.result


@pytest.mark.slow
def test_the_model_that_ships_gives_the_same_bits_everywhere(data_dir: Path, tmp_path: Path) -> None:
    slide = data_dir / "slides" / "CMU-1-Small-Region.svs"
    _, by_processes = WAYS
    one, other = (
        run(slide, tmp_path / name, "model.name=default", "grid.block_cells=2", *how)
        for name, how in (("one", ["cluster.workers=1"]), ("processes", by_processes))
    )
    assert trees_equal(one.folder / "scores.zarr", other.folder / "scores.zarr")


def test_a_finished_result_is_returned_as_it_is(small: Path, uninterrupted: SlideReport) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.folder.rglob("*")}
    assert run(small, uninterrupted.folder, "cluster.workers=2").result == uninterrupted.result
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.folder.rglob("*")} == before


def test_other_inputs_are_refused_before_any_work(small: Path, uninterrupted: SlideReport) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.folder.rglob("*")}
    with pytest.raises(ResultsDifferError, match=r"grid\.stride_tiles: 1\.0 -> 0\.5.*--overwrite"):
        run(small, uninterrupted.folder, "grid.stride_tiles=0.5")
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.folder.rglob("*")} == before


def test_overwrite_replaces_everything(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "slide"
    run(small, folder, "grid.block_cells=16")
    report = run(small, folder, "grid.block_cells=32", overwrite=True)
    assert report.result["provenance"]["inputs"]["grid"]["block_cells"] == 32
    assert ScoreStore(folder).grid.block_cells == 32


def test_an_interrupted_overwriting_run_goes_on_and_a_finished_one_is_kept(
    small: Path, tmp_path: Path
) -> None:
    """The old result stands until the new one is complete; scores of the same inputs are never made again."""
    folder = tmp_path / "slide"
    run(small, folder, "grid.block_cells=16")
    new = load_settings(overrides=[*PHANTOM, "grid.block_cells=4"])
    with pytest.raises(InterruptedRunError):
        analyse(small, folder, new, StopAfter(2), overwrite=True)
    assert ScoreStore(folder).grid.block_cells == 16
    analyse(small, folder, new, overwrite=True)
    assert ScoreStore(folder).grid.block_cells == 4
    assert json.loads((folder / "perf.json").read_text())["tiles_kept"] > 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    analyse(small, folder, new, overwrite=True)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_changed_threshold_measures_again_and_scores_nothing(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted.folder, tmp_path / "slide"))
    scored = {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")}
    second = run(small, folder, "quantify.min_tumour_mm2=100")
    assert uninterrupted.result["status"] == "scored"
    assert (second.result["status"], second.result["percent_viable"]) == ("not_evaluable", None)
    assert {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")} == scored


def test_what_is_known_of_the_model_and_the_estimator_measure_again_and_score_nothing(
    small: Path, tmp_path: Path
) -> None:
    copy, folder = tmp_path / "model", tmp_path / "slide"
    shutil.copytree(model_folder("phantom"), copy)
    hard = run(small, folder, f"model.name={copy}").result
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")}
    figures = {
        "rmse": 24.0,
        "slope": 0.6,
        "intercept": 20.0,
        "blank": {"mean": 21.0, "limit": 99.0, "cases": 2},
    }
    tree = json.loads((copy / "model.json").read_text())
    tree["quantity"] = {"estimator": "soft", "soft": figures, "hard": figures}
    (copy / "model.json").write_text(json.dumps(tree))
    soft = run(small, folder, f"model.name={copy}").result
    assert (soft["estimator"], hard["estimator"]) == ("soft", "by_class")
    assert hard["percent_viable"] == soft["percent_viable_by_class"] != soft["percent_viable"]
    assert soft["limit_of_blank"] == figures["blank"]
    assert "within_limit_of_blank" in {each["code"] for each in soft["warnings"]}
    assert "up to 99 % cannot be told from none" in describe(SlideReport(folder, soft, load_settings()))
    again = run(small, folder, f"model.name={copy}", "quantify.estimator=by_class").result
    assert (again["estimator"], again["percent_viable"]) == ("by_class", hard["percent_viable"])
    assert {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")} == stamps


def test_what_was_not_found_is_printed_as_such(uninterrupted: SlideReport) -> None:
    shown = describe(replace(uninterrupted, result={**uninterrupted.result, "finding": "no_viable"}))
    assert "percent viable    none found (limit of blank not known); reads" in shown
    assert "percent necrosis" not in shown


def test_an_interrupted_run_resumes_to_the_same_store(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = tmp_path / "slide"
    settings = load_settings(overrides=PHANTOM)
    with pytest.raises(InterruptedRunError):
        analyse(small, folder, settings, StopAfter(2))
    work = unfinished(folder)
    assert work is not None
    assert not folder.exists()
    assert len(list((work / "blocks").iterdir())) >= 2
    again = run(small, folder)
    assert trees_equal(folder / "scores.zarr", uninterrupted.folder / "scores.zarr")
    assert again.result == uninterrupted.result
    assert json.loads((folder / "perf.json").read_text())["tiles_kept"] > 0


def start(slide: Path, out: Path, workers: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", "run", str(slide), "-o", str(out)]
    options = [
        "--model",
        "phantom",
        "--workers",
        str(workers),
        "--set",
        "grid.block_cells=4",
        *(word for setting in PHANTOM[1:] for word in ("--set", setting)),
        "--quiet",
    ]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, "the run ended before it could be interrupted"
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SlideReport]:
    """A phantom of many blocks, most of which are still to be scored when a run is interrupted, and its results."""
    folder = tmp_path_factory.mktemp("long")
    write_phantom(folder / "slide.tiff", np.random.default_rng(7), side_mm=2)
    return folder / "slide.tiff", run(folder / "slide.tiff", folder / "whole", "grid.block_cells=4")


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_run_ends_with_the_store_of_an_uninterrupted_one(
    long: tuple[Path, SlideReport], tmp_path: Path, how: signal.Signals
) -> None:
    slide, whole = long
    folder = tmp_path / "out" / "slides" / slide.name
    with start(slide, tmp_path / "out", workers=4) as process:
        wait_for(lambda: any(folder.parent.glob(".*.work/*/results/blocks/*.json")), process)
        os.kill(process.pid, how)
        _, said = process.communicate(timeout=60)
    assert not folder.exists()
    if how == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        assert "the same command resumes" in said
    with start(slide, tmp_path / "out") as again:
        assert again.wait(timeout=180) == 0
    assert trees_equal(folder / "scores.zarr", whole.folder / "scores.zarr")
    assert json.loads((folder / "perf.json").read_text())["tiles_kept"] > 0


def test_a_block_cut_short_is_scored_again(small: Path, uninterrupted: SlideReport, tmp_path: Path) -> None:
    """A record is missing although its chunks are written, and half of them were lost."""
    folder = Path(shutil.copytree(uninterrupted.folder, tmp_path / "slide"))
    store = ScoreStore(folder)
    block = next(b for b in store.grid.blocks() if (folder / "blocks" / f"{b.name}.json").exists())
    blank = store.read_block(block)
    store.write_block(
        block, BlockScores(*(np.zeros_like(getattr(blank, f)) for f in blank.__dataclass_fields__))
    )
    (folder / "blocks" / f"{block.name}.json").unlink()
    (folder / "result.json").unlink()
    assert run(small, folder).result == uninterrupted.result
    assert trees_equal(folder / "scores.zarr", uninterrupted.folder / "scores.zarr")


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("model.name=none", ModelError),
        ("model.device=cuda", UsageError),
        ("cluster.scheduler=tcp://127.0.0.1:9", UsageError),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    small: Path, tmp_path: Path, override: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsi_necrosis.inference.cluster.PATIENCE_S", 1)
    if "cuda" in override and torch.cuda.is_available():
        pytest.skip("CUDA is there")
    with pytest.raises(error):
        run(small, tmp_path / "slide", override)
    assert not (tmp_path / "slide").exists()


def test_unreadable_pixels_are_counted_and_never_scored(data_dir: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.svs"
    content = bytearray((data_dir / "slides" / "CMU-1-Small-Region.svs").read_bytes())
    with tifffile.TiffFile(data_dir / "slides" / "CMU-1-Small-Region.svs") as tiff:
        page = tiff.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        tile = 6 * across + 5  # in the middle of the tissue
        content[page.dataoffsets[tile] : page.dataoffsets[tile] + page.databytecounts[tile]] = bytes(
            page.databytecounts[tile]
        )
    damaged.write_bytes(content)
    report = run(damaged, tmp_path / "out")
    scores = ScoreStore(tmp_path / "out").read()
    lost = scores.state == CellState.UNREADABLE
    assert lost.any()
    assert np.isnan(scores.prob[lost]).all()
    assert (scores.px[lost][:, 1] == 0).all()
    ledger = report.result["ledger"]
    assert ledger["px"]["unreadable"] > 0
    assert sum(ledger["px"].values()) == ledger["total_px"]
    assert "unreadable_cells" in {each["code"] for each in report.result["warnings"]}


class ChangeAfter(QuietWatcher):
    """Changes the slide after so many blocks."""

    def __init__(self, blocks: int, change: Callable[[], None]) -> None:
        self.left, self.change = blocks, change

    def scored(self, tiles: int) -> None:
        self.left -= 1
        if self.left == 0:
            self.change()


@pytest.fixture
def svs(data_dir: Path, tmp_path: Path) -> Path:
    return Path(shutil.copyfile(data_dir / "slides" / "CMU-1-Small-Region.svs", tmp_path / "slide.svs"))


SMALL_BLOCKS = load_settings(overrides=[*PHANTOM, "grid.block_cells=2", "cluster.workers=1"])


def work_of(folder: Path) -> Path:
    """The folder in which an interrupted run left what it had done."""
    found = unfinished(folder)
    assert found is not None
    return found


def test_a_slide_that_is_cut_while_it_is_scored_has_no_result_until_it_is_whole(
    svs: Path, tmp_path: Path
) -> None:
    whole, folder = svs.read_bytes(), tmp_path / "out"
    expected = analyse(svs, tmp_path / "expected", SMALL_BLOCKS)
    cut = ChangeAfter(3, lambda: os.truncate(svs, len(whole) // 4))
    with pytest.raises(
        SlideChangedError, match=rf"slide\.svs changed .*from {len(whole)} to {len(whole) // 4} bytes"
    ):
        analyse(svs, folder, SMALL_BLOCKS, cut)
    assert not (folder / "result.json").exists()
    kept = len(list((work_of(folder) / "blocks").iterdir()))
    with pytest.raises(SlideError):
        analyse(svs, folder, SMALL_BLOCKS)
    svs.write_bytes(whole)
    report = analyse(svs, folder, SMALL_BLOCKS)
    assert report.result == expected.result
    assert trees_equal(folder / "scores.zarr", expected.folder / "scores.zarr")
    perf = json.loads((folder / "perf.json").read_text())
    assert 3 <= kept < len(list((folder / "blocks").iterdir()))
    assert perf["tiles_kept"] > 0


@pytest.mark.slow
def test_a_share_that_fails_for_a_while_costs_the_blocks_that_it_failed(
    svs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    expected = analyse(svs, tmp_path / "expected", SMALL_BLOCKS)
    with monkeypatch.context() as patch:
        begins = ChangeAfter(3, lambda: FailingReads(patch, left=float("inf")))
        with pytest.raises(
            FailedBlocksError, match=r"slide\.svs: blocks that failed: \d+, .*Input/output error"
        ) as caught:
            analyse(svs, folder, SMALL_BLOCKS, begins)
    assert (caught.value.reason, caught.value.exit_code) == ("read_error", 1)
    assert not (folder / "result.json").exists()
    store = ScoreStore(work_of(folder))
    state = store.read().state
    assert (state == CellState.FAILED).any()
    assert not (state == CellState.UNREADABLE).any()
    done = {path.name: path.stat().st_mtime_ns for path in (work_of(folder) / "blocks").iterdir()}
    assert len(done) >= 3
    assert analyse(svs, folder, SMALL_BLOCKS).result == expected.result
    assert trees_equal(folder / "scores.zarr", expected.folder / "scores.zarr")
    assert {name: (folder / "blocks" / name).stat().st_mtime_ns for name in done} == done


@pytest.mark.slow
def test_a_share_that_fails_for_a_moment_costs_nothing(
    svs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = analyse(svs, tmp_path / "expected", SMALL_BLOCKS)
    begins = ChangeAfter(3, lambda: FailingReads(monkeypatch, left=2))
    report = analyse(svs, tmp_path / "out", SMALL_BLOCKS, begins)
    assert report.result == expected.result
    assert trees_equal(report.folder / "scores.zarr", expected.folder / "scores.zarr")


def test_a_slide_that_changes_before_its_result_is_published_has_none(small: Path, tmp_path: Path) -> None:
    """After the last block, so that no worker has seen it."""
    slide, folder = Path(shutil.copyfile(small, tmp_path / small.name)), tmp_path / "out"
    settings = load_settings(overrides=[*PHANTOM, "grid.block_cells=64"])
    with pytest.raises(SlideChangedError, match="nothing is published"):
        analyse(slide, folder, settings, ChangeAfter(1, lambda: os.utime(slide, ns=(0, 0))))
    assert not (folder / "result.json").exists()
    assert analyse(slide, folder, settings).status == "scored"


def test_a_file_in_the_way_is_an_error_that_names_it(small: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="file"):
        run(small, tmp_path / "file" / "slide")


def test_a_second_run_on_the_same_folder_is_refused(small: Path, tmp_path: Path) -> None:
    with (
        claimed(tmp_path / "slide"),
        pytest.raises(ClaimedError, match=r"another run works on .*process \d+ on"),
    ):
        run(small, tmp_path / "slide")
    assert not (tmp_path / "slide").exists()


def test_a_folder_with_other_files_is_refused_and_kept(small: Path, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds other files \(note\.txt\); choose a new folder"):
        run(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("result.json", ""),
        ("result.json", "[]"),
        ("result.json", "{}"),
        ("hashes.json", ""),
        ("overlay.png", ""),
        ("heatmap.ome.zarr/0/zarr.json", ""),
    ],
)
def test_damage_is_noticed_and_mended_without_scoring(
    small: Path, uninterrupted: SlideReport, tmp_path: Path, name: str, damage: str
) -> None:
    folder = Path(shutil.copytree(uninterrupted.folder, tmp_path / "slide"))
    whole = (folder / name).read_bytes()
    (folder / name).write_text(damage)
    assert run(small, folder).result == uninterrupted.result
    assert json.loads((folder / "perf.json").read_text())["tiles"] == 0
    assert name == "hashes.json" or (folder / name).read_bytes() == whole
    assert list(verify_slide(folder)) == []


def test_a_damaged_chunk_of_scores_is_scored_again(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted.folder, tmp_path / "slide"))
    chunk = next(
        path for path in sorted((folder / "scores.zarr" / "prob" / "c").rglob("*")) if path.is_file()
    )
    chunk.write_bytes(chunk.read_bytes()[:10])
    assert run(small, folder).result == uninterrupted.result
    assert 0 < json.loads((folder / "perf.json").read_text())["tiles"] <= uninterrupted.result["n_tiles"]
    assert trees_equal(folder / "scores.zarr", uninterrupted.folder / "scores.zarr")


class StopAtMeasuring(QuietWatcher):
    """Another process takes the slide over while this one scores, and finishes it."""

    def __init__(self, slide: Path, folder: Path) -> None:
        self.slide, self.folder, self.taken = slide, folder, False

    def scored(self, tiles: int) -> None:
        if not self.taken:
            self.taken = True
            for alive in self.folder.parent.glob(".*.work/*/alive.*"):
                os.utime(alive, (0, 0))
            run(self.slide, self.folder, "cluster.workers=1")


def test_a_run_that_wakes_after_another_took_over_says_so_and_changes_nothing(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = tmp_path / "slide"
    settings = load_settings(overrides=[*PHANTOM, "cluster.workers=1"])
    with pytest.raises(ClaimLostError, match=r"took .*slide over after 180 s of silence; its result stands"):
        analyse(small, folder, settings, StopAtMeasuring(small, folder))
    assert trees_equal(folder / "scores.zarr", uninterrupted.folder / "scores.zarr")
    assert list(verify_slide(folder)) == []
    assert json.loads((folder / "perf.json").read_text())["tiles_kept"] > 0
    assert run(small, folder).result == uninterrupted.result


def test_another_slide_of_the_same_name_is_told_apart(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    other = tmp_path / small.name
    write_phantom(other, np.random.default_rng(8), side_mm=1.0)
    with pytest.raises(ResultsDifferError, match="another slide of this name"):
        run(other, uninterrupted.folder)


def test_a_mask_as_coarse_as_cells_is_refused(small: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"tissue\.mpp_um"):
        run(small, tmp_path / "slide", "tissue.mpp_um=20")


def test_a_lost_picture_is_made_again_without_scoring(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = tmp_path / "slide"
    shutil.copytree(uninterrupted.folder, folder)
    (folder / "overlay.png").unlink()
    assert run(small, folder).result == uninterrupted.result
    assert (folder / "overlay.png").is_file()
    assert json.loads((folder / "perf.json").read_text())["tiles"] == 0


def test_a_missing_chunk_of_pixel_counts_is_an_error(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = tmp_path / "slide"
    shutil.copytree(uninterrupted.folder, folder)
    (folder / "result.json").unlink()
    for chunk in (folder / "scores.zarr" / "px" / "c").rglob("*"):
        if chunk.is_file() and not (folder / "blocks" / f"{chunk.parts[-3]}.{chunk.parts[-2]}.json").exists():
            chunk.unlink()  # of blocks without tissue, which have no record
    with pytest.raises(StoreError, match="lost part"):
        run(small, folder)


def test_a_changed_description_of_a_model_is_refused(
    small: Path, tmp_path: Path, uninterrupted: SlideReport
) -> None:
    copy = tmp_path / "model"
    shutil.copytree(model_folder("phantom"), copy)
    text = (copy / "model.json").read_text()
    (copy / "model.json").write_text(text.replace('"clip": 5.0', '"clip": 4.0'))
    assert load_spec(copy).weights_sha256 == load_spec("phantom").weights_sha256
    with pytest.raises(ResultsDifferError, match=r"model\.fingerprint"):
        run(small, uninterrupted.folder, f"model.name={copy}")


def test_a_store_of_another_version_is_refused_and_kept(
    small: Path, uninterrupted: SlideReport, tmp_path: Path
) -> None:
    folder = tmp_path / "slide"
    shutil.copytree(uninterrupted.folder, folder)
    path = folder / "scores.zarr" / "zarr.json"
    path.write_text(path.read_text().replace(f'"store_version": {STORE_VERSION}', '"store_version": 2'))
    old = json.loads((folder / "result.json").read_text()) | {"schema_version": 1}
    (folder / "result.json").write_text(json.dumps(old))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(
        StoreError, match=rf"store version 2, this program reads {STORE_VERSION}; run with --overwrite"
    ):
        run(small, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert run(small, folder, overwrite=True).result == uninterrupted.result


@pytest.fixture(scope="module")
def narrow_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's model with an OOD detector fitted without viable tumour, which is therefore out of distribution."""
    rng = np.random.default_rng(0)
    known = np.concatenate(
        [phantom_tiles(name, 60, 32, rng) for name in ("non_viable", "non_tumour")]
        + [phantom_tiles("glass", 60, 32, rng)]
    )
    detector = OodDetector.fit(describe_tiles(known), limit=3.0, shrinkage=0.2)
    spec = replace(phantom_spec(), ood=detector)
    folder = tmp_path_factory.mktemp("narrow") / "model"
    save_checkpoint(folder, spec, phantom_network(spec).tensors())
    return folder


@pytest.fixture(scope="module")
def ood_report(small: Path, narrow_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SlideReport:
    """The small phantom's results by that model."""
    return run(small, tmp_path_factory.mktemp("ood") / "slide", f"model.name={narrow_model}")


def test_ood_tissue_abstains_and_the_report_says_so(
    uninterrupted: SlideReport, ood_report: SlideReport
) -> None:
    report = ood_report
    result, plain = report.result, uninterrupted.result
    mm2 = result["ledger"]["mm2"]
    assert result["status"] == "scored"
    assert mm2["abstained"] == result["ood_mm2"] > 0.9 * plain["ledger"]["mm2"]["viable_by_class"]
    assert sum(result["ledger"]["px"].values()) == result["ledger"]["total_px"]
    low, high = result["percent_viable_if_abstained"].values()
    assert low <= result["percent_viable"] < plain["percent_viable"] <= high
    tissue = sum(mm2[name] for name in ("abstained", *(f"{each}_by_class" for each in CLASSES)))
    said = (
        f"{100 * result['ood_mm2'] / tissue:.0f} % of the tissue ({result['ood_mm2']:.2f} mm2) is unlike the"
    )
    assert result["warnings"][1] == {"code": "ood_tissue", "text": f"{said} training tiles and abstains"}
    shown = describe(report)
    abstained, ood_mm2 = mm2["abstained"], result["ood_mm2"]
    assert f"abstained         {abstained:.2f} mm2, of which {ood_mm2:.2f} unlike the training tiles" in shown
    assert f"warning (ood_tissue): {said}" in shown
    assert "ood_tissue" not in {each["code"] for each in plain["warnings"]}


def test_ood_thresholds_change_the_measuring_and_not_the_scores(
    small: Path, narrow_model: Path, ood_report: SlideReport, tmp_path: Path
) -> None:
    """The same scores under three settings; nothing is scored again."""
    folder, model = Path(shutil.copytree(ood_report.folder, tmp_path / "slide")), f"model.name={narrow_model}"
    stamp = {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")}
    strict = run(small, folder, model, "quantify.max_ood_share=0.1").result
    assert (strict["status"], strict["reason"]) == ("not_evaluable", "out_of_domain")
    assert strict["percent_viable"] is strict["percent_viable_if_abstained"] is strict["interval"] is None
    assert "not evaluable: out of domain" in describe(replace(ood_report, result=strict))
    lenient = run(small, folder, model, "quantify.max_ood=1e9").result
    assert (lenient["status"], lenient["ood_mm2"]) == ("scored", 0.0)
    assert {path: path.stat().st_mtime_ns for path in (folder / "scores.zarr").rglob("*")} == stamp


def test_very_little_ood_tissue_is_reported_as_less_than_1_percent(
    small: Path, narrow_model: Path, ood_report: SlideReport, tmp_path: Path
) -> None:
    shutil.copytree(ood_report.folder, tmp_path / "slide")
    ood = ScoreStore(tmp_path / "slide").read().ood
    highest = np.sort(ood[np.isfinite(ood)])[-3]
    result = run(
        small, tmp_path / "slide", f"model.name={narrow_model}", f"quantify.max_ood={highest:.9g}"
    ).result
    assert result["warnings"][1]["text"].startswith("less than 1 % of the tissue (0.00 mm2) is unlike")


def test_both_engines_score_alike(small: Path, uninterrupted: SlideReport, tmp_path: Path) -> None:
    other = run(small, tmp_path / "reference", "radiomics.engine=reference")
    for name, theirs in other.result["ledger"]["mm2"].items():
        assert theirs == pytest.approx(uninterrupted.result["ledger"]["mm2"][name], rel=1e-6), name
