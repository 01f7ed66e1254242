"""Commands in groups, `models` and `review`, and those on finished results: `verify`, `export` and `report`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, ModelNames, ResultsPath

models_app = typer.Typer(no_args_is_help=True, help="The models that come with the package, and your own.")

review_app = typer.Typer(no_args_is_help=True, help="Percent viable from a few cells that a person labels.")


@models_app.command("ls")
def models_ls() -> None:
    """List the models that come with the package."""
    from . import models as job  # as in `run`

    typer.echo(job.describe_all())


@models_app.command("show")
def models_show(names: ModelNames = None) -> None:
    """Describe models: network, training data, and figures on left-out cases."""
    from . import models as job  # as in `run`

    typer.echo(job.show(names or []))


@models_app.command("convert")
def models_convert(
    names: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Checkpoint folders.")],
) -> None:
    """Add to models their networks as OpenVINO runs them, so that they run without torch."""
    from . import models as job  # as in `run`

    typer.echo(job.convert(names))


@models_app.command("validate")
def models_validate(names: ModelNames = None) -> None:
    """Check models: description, hashes and weights, and what they say of painted tiles."""
    from . import models as job  # as in `run`

    typer.echo(job.validate(names or []))


ReviewOut = Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `run` or `batch` wrote to.")]
ReviewName = Annotated[str, typer.Option("--name", help="Of the review.")]


@review_app.command("sample")
def review_sample(
    out: ReviewOut,
    cells: Annotated[
        int, typer.Option(help="Cells to draw in all; more of them keep those drawn before.")
    ] = 40,
    case: Annotated[str | None, typer.Option(help="Slides of this case, as a manifest gives it.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 1,
    name: ReviewName = "review",
    rounds: Annotated[
        bool, typer.Option("--rounds", help="More cells may follow until it is narrow enough.")
    ] = False,
) -> None:
    """Draw cells at random and write the sheet on which a person labels them."""
    from . import review as job  # as in `run`

    typer.echo(job.sample(out, cells, seed, case, name, rounds=rounds))


@review_app.command("import")
def review_import(
    out: ReviewOut,
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE...", help="Labels: CSV, or GeoJSON from QuPath.")
    ],
    reader: Annotated[str | None, typer.Option(help="Who labelled, where the file does not say it.")] = None,
    name: ReviewName = "review",
    to_tiles: Annotated[
        Path | None, typer.Option(help="Also write the cells as a folder that `train` reads.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read labels and give percent viable with its interval."""
    from . import review as job  # as in `run`

    text, readings = job.take_in(out, files, reader, name, to_tiles)
    typer.echo(json.dumps([asdict(each) for each in readings]) if as_json else text)


@review_app.command("plan")
def review_plan(
    width: Annotated[float, typer.Option(help="Width of the interval in percentage points.")] = 20.0,
) -> None:
    """Say how many labels an interval is likely to take."""
    from . import review as job  # as in `run`

    typer.echo(job.plan(width))


def verify(
    out: ResultsPath,
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


def export(
    out: ResultsPath,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            help="report, geojson, ome_zarr, parquet, overlay, geojson_gz, tiles_geojson, ome_tiff, csv, "
            "annotation_store; several by commas.",
        ),
    ],
) -> None:
    """Write files for other programs from finished results; neither slides nor model are needed."""
    from . import export as job  # as in `run`

    found = job.export(out, to)
    typer.echo(found)
    if found.faults:
        raise typer.Exit(1)


def report(out: ResultsPath) -> None:
    """Write report.html of each finished slide, and of all of them; neither slides nor model are needed."""
    from . import export as job  # as in `run`

    found = job.export(out, ["report"])
    typer.echo(found)
    if found.faults:
        raise typer.Exit(1)
