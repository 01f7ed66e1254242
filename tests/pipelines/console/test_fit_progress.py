from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rich.console import Console

from wsi_necrosis.errors import StoreError
from wsi_necrosis.pipelines.console import fit_progress as fit_log
from wsi_necrosis.pipelines.console.fit_progress import fit_bar, write_fit_log
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.leave_case_out import silent

NAN = float("nan")
EPOCHS = (Epoch(1, 2.0, 1.0, 0.5, 1.0, 1.0, NAN), Epoch(2, 1.23456789, 0.9, 0.4, 1.1, 0.9, 0.75))


def test_a_row_for_each_epoch_of_each_fit(tmp_path: Path) -> None:
    write_fit_log(tmp_path / "training.csv", {"Case-3-1": EPOCHS, "member-1": EPOCHS[:1]})
    with (tmp_path / "training.csv").open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    assert header == ["fit", "epoch", "loss", "coarse", "fine", "weight_coarse", "weight_fine", "inner"]
    assert rows == [
        ["Case-3-1", "1", "2", "1", "0.5", "1", "1", "nan"],
        ["Case-3-1", "2", "1.23457", "0.9", "0.4", "1.1", "0.9", "0.75"],
        ["member-1", "1", "2", "1", "0.5", "1", "1", "nan"],
    ]


def test_a_fit_without_epochs_has_no_row(tmp_path: Path) -> None:
    write_fit_log(tmp_path / "training.csv", {"odd, name": (), "odder, name": EPOCHS[:1]})
    text = (tmp_path / "training.csv").read_text(encoding="utf-8")
    assert text.splitlines()[1:] == ['"odder, name",1,2,1,0.5,1,1,nan']


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"training\.csv cannot be written"):
        write_fit_log(tmp_path / "none" / "training.csv", {})


def test_nothing_is_drawn_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with fit_bar(3) as watch:
        watch("Case-3-1", EPOCHS[0])
    assert watch is silent
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_which_fit_is_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def terminal(*, stderr: bool) -> Console:
        return Console(stderr=stderr, force_terminal=True, width=120)

    monkeypatch.setattr(fit_log, "Console", terminal)
    with fit_bar(2) as watch:
        for epoch in EPOCHS:
            watch("Case-3-1", epoch)
    said = capsys.readouterr()
    assert "Case-3-1, epoch 2, loss 1.235" in said.err
    assert "100 %" in said.err
    assert said.out == ""
