"""Commands on finished results: `verify`, `case` and `sensitivity`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import (
    Annotations,
    AsJson,
    CaseOut,
    CaseSource,
    DrawnPolicy,
    Grades,
    ReaderName,
    Reviews,
)


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, or the folder of one slide.")],
    full: Annotated[
        bool, typer.Option("--full", help="Also compare the slides with their fingerprints.")
    ] = False,
) -> None:
    """Check results: hashes of files, blocks, areas that add up, and percentages measured again."""
    from . import verify as job  # as in `run`

    found = job.verify(out, full=full)
    typer.echo(found)
    if found.faults:
        raise typer.Exit(1)


def case(
    source: CaseSource,
    out: CaseOut = None,
    annotations: Annotations = None,
    grade: Grades = None,
    review: Reviews = None,
    reader: ReaderName = None,
    policy: DrawnPolicy = None,
    as_json: AsJson = False,
) -> None:
    """Roll slides up to cases: percent viable, what is missing, and grades; nothing is scored."""
    # as in `run`
    from . import case as job
    from .console.case_table import describe_cases

    asked = job.Options(annotations, tuple(grade or ()), tuple(review or ()), reader, policy)
    found = job.as_json(job.case(source, out, asked))
    typer.echo(json.dumps(found, indent=2) if as_json else describe_cases(found["cases"]))


def sensitivity(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, or the folder of one slide.")],
    as_json: AsJson = False,
) -> None:
    """Say how percent viable of finished slides depends on each threshold; nothing is scored."""
    from . import sensitivity as job  # as in `run`

    rows = job.sensitivities(out)
    typer.echo(json.dumps(rows) if as_json else job.describe(rows))
