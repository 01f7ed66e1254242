import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from wsi_necrosis.pipelines.console import batch_progress
from wsi_necrosis.pipelines.console.batch_progress import BarBatch, BatchWatcher, PlainBatch, watching_batch


def play(watcher: BatchWatcher) -> None:
    """Of four slides one is up to date, one is scored, one fails, and the last is begun before the failure is told."""
    watcher.note("left out [b]")
    watcher.starting(4, 1)
    watcher.folder_ready(Path("out/slides/x.svs"))
    watcher.scoring(100, 40)
    watcher.scored(30)
    watcher.scored(30)
    watcher.folder_ready(Path("out/slides/z.svs"))
    watcher.scoring(70, 0)
    watcher.slide_ended("x.svs: 12 % viable", failed=False)
    watcher.scored(20)
    watcher.slide_ended("y.svs: failed (open): why", failed=True)


def test_a_line_a_slide_where_there_is_no_terminal() -> None:
    said = io.StringIO()
    play(PlainBatch(Console(file=said, width=20)))
    lines = said.getvalue().splitlines()
    assert lines[:2] == ["note: left out [b]", "4 slides, 1 of them are up to date"]
    assert lines[2].startswith("2 of 4  x.svs: 12 % viable  (")
    assert lines[3].startswith("3 of 4  y.svs: failed (open): why  (")
    assert len(lines) == 4


def shown(console: io.StringIO) -> list[str]:
    """Lines of a terminal, without bars, colours and what moves the cursor."""
    text = re.sub(
        r"\x1b\[[0-9;?]*[A-Zac-ln-z]", "\n", re.sub(r"\x1b\[[0-9;]*m|[━╸╺]", "", console.getvalue())
    )
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which the test sets."""
    times = [0.0]
    monkeypatch.setattr(batch_progress.time, "monotonic", lambda: times[0])
    return times


def test_a_line_for_the_batch_over_the_bar_of_the_slide(clock: list[float]) -> None:
    said = io.StringIO()
    with BarBatch(Console(file=said, force_terminal=True, width=120)) as bar:
        bar._bar.live.auto_refresh = False
        play(bar)
        bar._bar.refresh()
        lines = shown(said)
        assert {"note: left out [b]", "y.svs: failed (open): why"} <= set(lines)
        assert "12 % viable" not in said.getvalue()
        batch, slide = lines[-2:]
        assert batch.startswith("slides 2 of 4 done, 1 failed, 1 left")
        assert slide.startswith(
            "z.svs 20 of 70 tiles"
        )  # a slide that ends does not touch the one that is scored


def test_time_left_is_that_of_slides_since_the_first_however_long_they_take(clock: list[float]) -> None:
    """Slides of an hour: an estimate by the last half minute, as rich makes it, would know nothing."""
    said = io.StringIO()
    with BarBatch(Console(file=said, force_terminal=True, width=80)) as bar:
        bar._bar.live.auto_refresh = False
        bar.starting(120, 2)
        clock[0] += 5000  # the start of the workers among it
        bar.slide_ended("", failed=False)
        bar._bar.refresh()
        assert shown(said)[-2] == "slides 3 of 120 done, 0 failed, 117 left"
        clock[0] += 3600
        bar.slide_ended("", failed=True)
        bar.folder_ready(Path("a slide with a name of many letters.svs"))
        bar.scoring(100, 0)
        clock[0] += 10
        bar.scored(10)
        bar._bar.refresh()
        batch, slide = shown(said)[-2:]
    assert batch == "slides 3 of 120 done, 1 failed, 116 left, about 116.0 h"
    assert slide == "a slide w…etters.svs 10 of 100 tiles, 1.0 tiles/s, 2 min left"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watching_batch(quiet=True) as watcher:
        play(watcher)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with watching_batch(quiet=False) as watcher:
        watcher.starting(2, 0)
    assert capsys.readouterr() == ("", "2 slides\n")
