"""A progress bar for training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

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
