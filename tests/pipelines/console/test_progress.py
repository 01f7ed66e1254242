import io

import pytest
from rich.console import Console

from wsi_necrosis.pipelines.console.progress import BarWatcher, PlainWatcher, watching


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
