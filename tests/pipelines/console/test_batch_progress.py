import io
from pathlib import Path

import pytest
from rich.console import Console

from wsi_necrosis.pipelines.console.batch_progress import BarBatch, BatchWatcher, PlainBatch, watching_batch


def play(watcher: BatchWatcher) -> None:
    watcher.note("left out [b]")
    watcher.starting(4, 1)
    watcher.folder_ready(Path("out/slides/x.svs"))
    watcher.scoring(100, 40)
    watcher.scored(60)
    watcher.slide_ended("x.svs: 12 % viable", failed=False)
    watcher.slide_ended("y.svs: failed (open): why", failed=True)


def test_a_line_a_slide_where_there_is_no_terminal() -> None:
    said = io.StringIO()
    play(PlainBatch(Console(file=said, width=20)))
    lines = said.getvalue().splitlines()
    assert lines[:2] == ["note: left out [b]", "4 slides, 1 of them are up to date"]
    assert lines[2].startswith("2 of 4  x.svs: 12 % viable  (")
    assert lines[3].startswith("3 of 4  y.svs: failed (open): why  (")
    assert len(lines) == 4


def test_a_line_for_the_batch_over_the_bar_of_the_slide() -> None:
    said = io.StringIO()
    with BarBatch(Console(file=said, force_terminal=True, width=120)) as bar:
        play(bar)
        bar.scoring(50, 50)
    for part in ("note: left out [b]", "y.svs: failed (open): why", "3/4", "1 failed", "50/50"):
        assert part in said.getvalue()
    assert "12 % viable" not in said.getvalue()


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with watching_batch(quiet=True) as watcher:
        play(watcher)
    assert capsys.readouterr() == ("", "")


def test_without_a_terminal_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with watching_batch(quiet=False) as watcher:
        watcher.starting(2, 0)
    assert capsys.readouterr() == ("", "2 slides\n")
