from __future__ import annotations

import pytest
from rich.console import Console

from wsi_necrosis.pipelines.console import fit_progress as module
from wsi_necrosis.pipelines.console.fit_progress import fit_bar
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.leave_case_out import silent

NAN = float("nan")
EPOCHS = (Epoch(1, 2.0, 1.0, 0.5, 1.0, 1.0, NAN), Epoch(2, 1.23456789, 0.9, 0.4, 1.1, 0.9, 0.75))


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

    monkeypatch.setattr(module, "Console", terminal)
    with fit_bar(2) as watch:
        for epoch in EPOCHS:
            watch("Case-3-1", epoch)
    said = capsys.readouterr()
    assert "Case-3-1, epoch 2, loss 1.235" in said.err
    assert "100 %" in said.err
    assert said.out == ""
