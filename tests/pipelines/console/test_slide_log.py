import logging
from pathlib import Path

import pytest

from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.console.slide_log import SlideLog, log_file


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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no disk that is always full")
def test_a_full_disk_puts_no_traceback_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    log = log_file(Path("/dev/full"))
    log.handle(logging.makeLogRecord({"msg": "lost"}))
    log.close()
    assert capfd.readouterr() == ("", "")
