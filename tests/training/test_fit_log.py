from __future__ import annotations

import csv
from pathlib import Path

import pytest

from wsi_necrosis.errors import StoreError
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.fit_log import write_fit_log

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
