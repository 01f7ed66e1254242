"""`training.csv`: every epoch of every fit."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsi_necrosis.files import write_text
from wsi_necrosis.training.fit import Epoch


def write_fit_log(path: Path, history: Mapping[str, Sequence[Epoch]]) -> None:
    """Write a CSV table: the fit's name (left-out case and seed, or member), then the columns of `Epoch`.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("fit", *Epoch._fields))
    for name, epochs in history.items():
        rows.writerows((name, epoch.epoch, *(f"{value:.6g}" for value in epoch[1:])) for epoch in epochs)
    write_text(path, text.getvalue())
