"""Commands that judge a model or readers: `evaluate` and `agree`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsi_necrosis.errors import SettingsError

from .options import OodTables, OutPath, Tiles, first_line


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL|OUT]", help="Shipped model or checkpoint folder; results with --truth."
        ),
    ] = "default",
    tiles: Tiles = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            "--truth", help="Annotations of finished slides: GeoJSON, or a folder named as they are."
        ),
    ] = None,
    out: OutPath = Path("wsi-necrosis-evaluation"),
    card: Annotated[Path | None, typer.Option("--card", help="Model card. [default: in OUT]")] = None,
    ood: OodTables = None,
    within_case: Annotated[
        bool, typer.Option("--within-case", help="Take new tiles of known cases; results are marked so.")
    ] = False,
    mpp: Annotated[
        float | None, typer.Option("--mpp", min=0.01, help="Pixel size in um of new tiles that name none.")
    ] = None,
) -> None:
    """Evaluate a model on labelled tiles of new cases; on its training tiles, leave each case out in turn.

    With --truth, compare finished slides with annotations instead.
    """
    if truth is not None:
        from .evaluation import truth as outlined  # as in `run`

        typer.echo(outlined.compare_with_outlines(Path(model), truth, out))
        return
    if tiles is None:
        raise SettingsError("evaluate: give the labelled tiles with --tiles")
    # as in `run`
    from wsi_necrosis.model.backend import require_torch

    require_torch("evaluate", extra="train")
    first_line(f"wsi-necrosis evaluate: {model} on {tiles}")
    from .console.signals import interruptible
    from .console.slide_log import spoken_log
    from .evaluation import evaluate as job

    kept = "fits that are done are kept, and the same command uses them; all else it computes again"
    with interruptible(kept), spoken_log():
        found = job.evaluate(job.Options(model, tiles, out, card, tuple(ood or ()), within_case, mpp))
    typer.echo(found)


def agree(
    readers: Annotated[
        Path,
        typer.Argument(
            metavar="READERS.csv", help="A row per case and reader: case, reader, percent_viable."
        ),
    ],
    out: OutPath = Path("wsi-necrosis-agreement"),
    model: Annotated[str, typer.Option("--model", help="Which of the readers is the model.")] = "model",
    grades: Annotated[
        str,
        typer.Option("--grades", help="Scheme of grades: huvos, euramos, ccg-pog, iaslc, or a YAML file."),
    ] = "huvos",
) -> None:
    """Compare readers with one another, and the model with their consensus."""
    from . import agree as job  # as in `run`

    typer.echo(job.agree(readers, out, model, grades))
