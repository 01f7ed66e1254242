import logging
import threading
from pathlib import Path

import pytest

from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.console.batch_log import BatchLog
from wsi_necrosis.request import Request, working_on

LOG = logging.getLogger("wsi_necrosis.somewhere")


def lines(path: Path) -> list[str]:
    return [line.rsplit(": ", 1)[1] for line in path.read_text(encoding="utf-8").splitlines()]


def test_each_slide_gets_what_its_threads_say(tmp_path: Path) -> None:
    one, two = (Request(name, tmp_path / name) for name in ("one", "two"))
    for each in (one, two):
        each.folder.mkdir()

    def prepare() -> None:
        with working_on(two):
            LOG.info("two is opened")

    with BatchLog(QuietWatcher(), tmp_path / "runs" / "run.log") as logs:
        LOG.info("the batch begins")
        with working_on(one):
            LOG.info("one is opened")
            logs.folder_ready(one.folder)
            ahead = threading.Thread(target=prepare)
            ahead.start()
            ahead.join()
        LOG.info("a worker scores one")
        logs.slide_ended(one.folder)
        LOG.info("between the two")
        logs.folder_ready(two.folder)
        logs.scoring(3, 1)
        logs.slide_ended(two.folder)
    LOG.info("outside")
    assert lines(one.folder / "log.txt") == ["one is opened", "a worker scores one"]
    assert lines(two.folder / "log.txt")[0] == "two is opened"
    assert "scoring 3 tiles, 1 of them kept" in (two.folder / "log.txt").read_text(encoding="utf-8")
    assert lines(tmp_path / "runs" / "run.log") == ["the batch begins", "between the two"]


class Told(QuietWatcher):
    """Notes the folders that it is told."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.notes: list[str] = []

    def folder_ready(self, folder: Path) -> None:
        self.folders.append(folder)

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_notes_are_passed_on_without_names(tmp_path: Path) -> None:
    told = Told()
    BatchLog(told, tmp_path / "run.log", lambda text: text.replace("Doe", "a code")).note("Doe is lost")
    assert told.notes == ["a code is lost"]


def test_a_log_follows_the_folder_of_work_and_the_watcher_is_told_the_slide(tmp_path: Path) -> None:
    """A folder of work has another name, and is renamed to the slide's when it is published."""
    slide, work, told = Request("one", tmp_path / "one"), tmp_path / ".one.work", Told()
    work.mkdir()
    with BatchLog(told, tmp_path / "run.log") as logs, working_on(slide):
        logs.folder_ready(work)
        LOG.info("scored")
        work.rename(slide.folder)
        LOG.info("published")
        logs.slide_ended(slide.folder)
    assert lines(slide.folder / "log.txt") == ["scored", "published"]
    assert told.folders == [slide.folder]


def fail(slide: Request, run_log: Path) -> None:
    with BatchLog(QuietWatcher(), run_log) as logs:
        with working_on(slide):
            LOG.info("cannot be opened")
        logs.slide_ended(slide.folder)
        raise ValueError("disk on fire")


def test_a_slide_without_a_folder_speaks_in_the_log_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="disk"):
        fail(Request("a", tmp_path / "a"), tmp_path / "run.log")
    assert lines(tmp_path / "run.log") == ["cannot be opened", "disk on fire"]
    assert not (tmp_path / "a").exists()


def test_nothing_said_makes_no_file(tmp_path: Path) -> None:
    with BatchLog(QuietWatcher(), tmp_path / "run.log"):
        pass
    assert list(tmp_path.iterdir()) == []
