"""Slides one after another by the same workers."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.runs import PHANTOM, StopAfter, run, trees_equal
from wsi_necrosis import stages
from wsi_necrosis.analysis import analyse, analyse_all, finished_report
from wsi_necrosis.claims import Lease, claimed, claimed_by, unfinished
from wsi_necrosis.errors import InterruptedRunError, ResultsDifferError, SlideError, UnexpectedError
from wsi_necrosis.export import export_slide
from wsi_necrosis.inference import cluster, pool
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.inference.stats import ScoringStats
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.report.verify import verify_slide
from wsi_necrosis.request import Request
from wsi_necrosis.scores.slide_folder import SlideFolder
from wsi_necrosis.settings.run import ClaimSettings, Settings, load_settings
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.tiling import tissue

TIMEOUT_S = 60


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three small phantoms, and between them a file that is no slide."""
    folder = tmp_path_factory.mktemp("slides")
    paths = [folder / f"{name}.tiff" for name in "abcd"]
    for seed, path in enumerate(paths):
        write_phantom(path, np.random.default_rng(seed), side_mm=1.0)
    paths[1].write_text("no slide")
    return paths


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(overrides=[*PHANTOM, "cluster.workers=2"])


def requests(slides: list[Path], out: Path) -> list[Request]:
    return [Request(slide, out / slide.name) for slide in slides]


def test_results_are_those_of_single_runs_and_a_bad_slide_ends_no_other(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called, loaded = [], []
    connected, load_model = cluster.connected, pool.load_model
    monkeypatch.setattr(cluster, "connected", lambda *given: called.append(given) or connected(*given))
    monkeypatch.setattr(pool, "load_model", lambda *given: loaded.append(given) or load_model(*given))
    found = list(analyse_all(requests(slides, tmp_path), settings, QuietWatcher()))
    assert [request.slide for request, _ in found] == slides
    assert isinstance(found[1][1], SlideError)
    assert len(called) == len(loaded) == 1
    for slide, (_, report) in zip(slides[2:], found[2:], strict=True):
        alone = run(slide, tmp_path / "alone" / slide.name)
        assert isinstance(report, SlideReport)
        assert report.result == alone.result
        assert trees_equal(report.folder / "scores.zarr", alone.folder / "scores.zarr")


def test_an_interruption_ends_all_slides(slides: list[Path], settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InterruptedRunError):
        list(analyse_all(requests(slides, tmp_path), settings, StopAfter(1)))
    assert not list(tmp_path.rglob("result.json"))


class WaitForNextSlide(QuietWatcher):
    """Delays the scoring of each slide but the last until the tissue of the next one is found."""

    def __init__(self, n_slides: int) -> None:
        self.waits = n_slides - 1
        self.found = threading.Semaphore(0)

    def scoring(self, tiles: int, done: int) -> None:
        if self.waits:
            self.waits -= 1
            assert self.found.acquire(timeout=TIMEOUT_S)


def test_the_next_slide_is_prepared_while_one_is_scored(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = [slides[0], *slides[2:], Path(shutil.copyfile(slides[0], tmp_path / "e.tiff"))]
    watcher, taken, under_way = WaitForNextSlide(len(good)), [], []
    find_tissue, first = tissue.find_tissue, threading.Event()

    def find_and_signal(*given: object) -> object:
        mask = find_tissue(*given)  # type: ignore[arg-type]  # passed on as they came
        if first.is_set():
            watcher.found.release()
        first.set()
        return mask

    def one_by_one() -> Iterator[Request]:
        for request in requests(good, tmp_path / "out"):
            taken.append(request)
            yield request

    monkeypatch.setattr(tissue, "find_tissue", find_and_signal)
    for at, (_, report) in enumerate(analyse_all(one_by_one(), settings, watcher)):
        assert isinstance(report, SlideReport)
        under_way.append(len(taken) - at)
    assert not watcher.waits
    assert under_way == [3, 3, 2, 1]  # the one that is done, one that is scored, and one ahead


class Began(QuietWatcher):
    """Says when the scoring of the second slide begins."""

    def __init__(self) -> None:
        self.slides, self.second = 0, threading.Event()

    def scoring(self, tiles: int, done: int) -> None:
        self.slides += 1
        if self.slides == 2:
            self.second.set()


def hold_exports(patch: pytest.MonkeyPatch, until: threading.Event) -> None:
    """Exports begin when the event comes."""
    export = export_slide.export_slide

    def held(*given: object) -> object:
        assert until.wait(TIMEOUT_S)
        return export(*given)  # type: ignore[arg-type]  # passed on as they came

    patch.setattr(export_slide, "export_slide", held)


def test_a_slide_is_exported_while_the_next_one_is_scored(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Began()
    hold_exports(monkeypatch, watcher.second)
    found = list(analyse_all(requests([slides[0], *slides[2:]], tmp_path), settings, watcher))
    assert all(isinstance(report, SlideReport) for _, report in found)


class StopInSecond(Began):
    """Interrupts the second slide at its first block."""

    def scored(self, tiles: int) -> None:
        if self.second.is_set():
            raise InterruptedRunError("stopped")


def test_an_interruption_loses_no_slide_whose_blocks_are_all_done(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first slide waits for its export; it is published, and the claim on the second is given up."""
    watcher = StopInSecond()
    hold_exports(monkeypatch, watcher.second)
    with pytest.raises(InterruptedRunError):
        list(analyse_all(requests([slides[0], slides[2]], tmp_path), settings, watcher))
    published, stopped = (tmp_path / slides[at].name for at in (0, 2))
    assert SlideFolder(published).is_complete
    assert not stopped.exists()
    assert unfinished(stopped) is not None
    assert claimed_by(stopped, Lease(20, 180)) is None


def test_who_asks_for_no_more_slides_ends_the_scoring_after_a_block(
    slides: list[Path], tmp_path: Path
) -> None:
    """The second slide has many blocks, and its scoring has begun."""
    watcher, settings = (
        Began(),
        load_settings(overrides=[*PHANTOM, "grid.block_cells=2"]),
    )
    with closing(analyse_all(requests([slides[0], slides[2]], tmp_path), settings, watcher)) as outcomes:
        next(outcomes)
        assert watcher.second.wait(TIMEOUT_S)
    assert not (tmp_path / slides[2].name).exists()
    assert claimed_by(tmp_path / slides[2].name, Lease(20, 180)) is None


def test_nothing_to_do_starts_no_workers(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(analyse_all([], settings, QuietWatcher())) == []
    ((_, before),) = analyse_all(requests(slides[:1], tmp_path), settings, QuietWatcher())
    monkeypatch.setattr(cluster, "connected", pytest.fail)
    ((_, again),) = analyse_all(requests(slides[:1], tmp_path), settings, QuietWatcher())
    assert again == before


def test_a_slide_that_another_process_works_on_comes_last_and_its_result_is_taken(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one finishes while this one waits."""
    ready = run(slides[0], tmp_path / "elsewhere" / slides[0].name)
    held = ExitStack()
    claim = held.enter_context(claimed(tmp_path / slides[0].name))
    shutil.copytree(ready.folder, claim.folder)

    def finish(_: float) -> None:
        claim.publish()
        held.close()

    monkeypatch.setattr("wsi_necrosis.analysis.time.sleep", finish)
    monkeypatch.setattr("wsi_necrosis.stages.score_slide", fail_for(slides[0], stages.score_slide))
    found = list(analyse_all(requests([slides[0], slides[2]], tmp_path), settings))
    assert [request.slide for request, _ in found] == [slides[2], slides[0]]
    assert all(isinstance(report, SlideReport) for _, report in found)


def test_who_lost_a_slide_while_publishing_says_so_and_takes_the_result_of_the_other(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It falls silent after its last check of the claim; another one takes over, and publishes first."""
    (request,) = requests(slides[:1], tmp_path)
    rename, told = Path.rename, list[str]()
    still = settings.model_copy(update={"claims": ClaimSettings(heartbeat_s=1000, silence_s=3000)})

    def too_late(path: Path, target: Path) -> Path:
        if path.name != "results" or target != request.folder:
            return rename(path, target)
        monkeypatch.setattr(Path, "rename", rename)
        (alive,) = path.parent.glob("alive.*")
        os.utime(alive, (0, 0))
        told.append(f"taken over: {analyse(request.slide, request.folder, still).status}")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", too_late)
    watcher = QuietWatcher()
    watcher.note = told.append  # type: ignore[method-assign]
    ((_, outcome),) = analyse_all([request], still, watcher)
    assert isinstance(outcome, SlideReport)
    assert told[0] == "taken over: scored"
    assert "another process took" in told[1]
    assert list(verify_slide(request.folder)) == []
    assert [path.name for path in tmp_path.iterdir()] == [request.folder.name]


def fail_for(slide: Path, score: Callable[..., ScoringStats]) -> Callable[..., ScoringStats]:
    """Score slides, but not this one."""

    def scored(workers: WorkerPool, job: Job, *given: object) -> ScoringStats:
        assert job.slide != slide
        return score(workers, job, *given)

    return scored


def test_an_error_that_nobody_expected_ends_its_slide_alone(
    slides: list[Path], settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = stages.measure

    def fail_once(*given: object) -> object:
        monkeypatch.setattr(stages, "measure", measure)
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr(stages, "measure", fail_once)
    found = [outcome for _, outcome in analyse_all(requests(slides[:3], tmp_path), settings)]
    assert isinstance(found[0], UnexpectedError)
    assert isinstance(found[0].__cause__, ZeroDivisionError)
    assert "ZeroDivisionError: by nothing" in str(found[0])
    assert [each.stage for each in found if not isinstance(each, SlideReport)] == ["measure", "open"]
    assert isinstance(found[2], SlideReport)


def test_a_slide_is_finished_until_something_changes(
    slides: list[Path], settings: Settings, tmp_path: Path
) -> None:
    request = Request(slides[0], tmp_path / "a", manifest={"case": "1"})
    assert finished_report(request, settings) is None
    ((_, report),) = analyse_all([request], settings)
    assert isinstance(report, SlideReport)
    assert report.result["manifest"] == {"case": "1"}
    assert report.result["path"] == str(slides[0])
    assert finished_report(request, settings) == report
    assert finished_report(Request(slides[0], tmp_path / "a", manifest={"case": "2"}), settings) is None
    with pytest.raises(ResultsDifferError, match=r"mpp_x: 0\.5 -> 0\.4"):
        finished_report(Request(slides[0], tmp_path / "a", mpp=0.4), settings)
