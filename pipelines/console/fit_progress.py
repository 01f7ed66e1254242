"""How fits come along: a bar on the screen, and a table of their epochs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from wsi_necrosis.files import write_text
from wsi_necrosis.training.fit import Epoch
from wsi_necrosis.training.leave_case_out import Watch, silent


@contextmanager
def fit_bar(epochs: int) -> Iterator[Watch]:
    """A bar over all epochs of all fits on a terminal, nothing elsewhere; on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("fitting", total=epochs)

        def watch(name: str, epoch: Epoch) -> None:
            bar.update(task, advance=1, description=f"{name}, epoch {epoch.epoch}, loss {epoch.loss:.3f}")

        yield watch


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
