import io
import logging
import signal
from pathlib import Path

import pytest
from rich.console import Console

from wsi_necrosis.errors import InterruptedRunError
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.console.progress import BarWatcher, PlainWatcher, watching
from wsi_necrosis.pipelines.console.signals import interruptible
from wsi_necrosis.pipelines.console.slide_log import SlideLog


def test_plain_lines_where_there_is_no_terminal() -> None:
    said = io.StringIO()
    watcher = PlainWatcher(Console(file=said))
    watcher.scoring(100, 40)
    watcher.scored(60)
    assert "scoring 100 tiles, 40 kept" in said.getvalue()
    assert "100 of 100 tiles" in said.getvalue()
    assert "tiles/s" in said.getvalue()


def test_a_bar_shows_tiles_per_second() -> None:
    said = io.StringIO()
    with BarWatcher(Console(file=said, force_terminal=True, width=120)) as bar:
        bar.scoring(100, 40)
        bar.scored(60)
    assert "100/100" in said.getvalue()
    assert "tiles/s" in said.getvalue()


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watching(quiet=True) as watcher:
        watcher.scoring(10, 0)
        watcher.scored(10)
    assert capsys.readouterr() == ("", "")


def test_the_log_holds_what_was_said_before_its_folder_existed(tmp_path: Path) -> None:
    log = logging.getLogger("wsi_necrosis.somewhere")

    def work() -> None:
        with SlideLog(QuietWatcher()) as watcher:
            log.info("early")
            watcher.folder_ready(tmp_path)
            log.info("late")
            raise ValueError("disk on fire")

    with pytest.raises(ValueError, match="disk"):
        work()
    log.info("outside")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    assert [line.rsplit(": ", 1)[1] for line in lines] == ["early", "late", "disk on fire"]


def test_nothing_is_written_without_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with SlideLog(QuietWatcher()):
        logging.getLogger("wsi_necrosis").info("early")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_become_an_error_that_says_how_to_resume(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.raises(InterruptedRunError, match=rf"{number.name}.*resumes"), interruptible():
        signal.raise_signal(number)
    assert signal.getsignal(number) == signal.SIG_IGN  # a second one does not break the ending
    for each, handler in before.items():
        signal.signal(each, handler)


def test_handlers_come_back_when_nothing_happened() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible():
        assert signal.getsignal(signal.SIGINT) != before
    assert signal.getsignal(signal.SIGINT) == before
