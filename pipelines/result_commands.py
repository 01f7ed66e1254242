"""Commands on finished results, from `verify` to `view`, and the group `review`."""

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
    OutPath,
    ReaderName,
    ResultsPath,
    Reviews,
    first_line,
)

results_app = typer.Typer()
review_app = typer.Typer(no_args_is_help=True, help="Percent viable from a few cells that a person labels.")


@results_app.command()
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


@results_app.command()
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


@results_app.command()
def sensitivity(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, or the folder of one slide.")],
    as_json: AsJson = False,
) -> None:
    """Say how percent viable of finished slides depends on each threshold; nothing is scored."""
    from . import sensitivity as job  # as in `run`

    rows = job.sensitivities(out)
    typer.echo(json.dumps(rows) if as_json else job.describe(rows))


@results_app.command()
def export(
    out: ResultsPath,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            help="report, geojson, ome_zarr, parquet, foci, overlay, geojson_gz, tissue_geojson, tiles_geojson, "
            "ome_tiff, csv, annotation_store; several by commas.",
        ),
    ],
) -> None:
    """Write files for other programs from finished results; neither slides nor model are needed."""
    from . import export as job  # as in `run`

    found = job.export(out, to)
    typer.echo(found)
    if found.faults:
        raise typer.Exit(1)


@results_app.command()
def report(out: ResultsPath) -> None:
    """Write report.html of each finished slide, and of all of them; neither slides nor model are needed."""
    from . import export as job  # as in `run`

    found = job.export(out, ["report"])
    typer.echo(found)
    if found.faults:
        raise typer.Exit(1)


@results_app.command()
def view(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder, or the folder of one slide.")],
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of this machine; 0 takes any that is free.")
    ] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open no browser.")
    ] = False,
) -> None:
    """Look at slides with their results in a browser, and label cells of reviews; Ctrl-C ends it."""
    first_line(f"wsi-necrosis view: {out}")
    from . import view as job  # as in `run`

    job.view(out, port, browser=not no_browser)


@results_app.command()
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


ReviewOut = Annotated[Path, typer.Argument(metavar="OUT", help="Folder that `run` or `batch` wrote to.")]
ReviewName = Annotated[str, typer.Option("--name", help="Of the review.")]


@review_app.command("sample")
def review_sample(
    out: ReviewOut,
    cells: Annotated[
        int, typer.Option(help="Cells to draw in all; more of them keep those drawn before.")
    ] = 40,
    case: Annotated[str | None, typer.Option(help="Slides of this case, as a manifest gives it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of a new draw; 1 by default.")] = None,
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
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Labels: CSV, or GeoJSON from QuPath."),
    ] = None,
    reader: Annotated[str | None, typer.Option(help="Who labelled, where the file does not say it.")] = None,
    name: ReviewName = "review",
    to_tiles: Annotated[
        Path | None, typer.Option(help="Also write the cells as a folder that `train` reads.")
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(help="Regions corrected in QuPath, a file named as each slide: a percentage as drawn."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read labels and give percent viable with its interval."""
    from . import review as job  # as in `run`

    text, facts = job.take_in(out, files or [], reader, name, to_tiles, regions)
    typer.echo(json.dumps(facts) if as_json else text)


@review_app.command("plan")
def review_plan(
    width: Annotated[float, typer.Option(help="Width of the interval in percentage points.")] = 20.0,
) -> None:
    """Say how many labels an interval is likely to take."""
    from . import review as job  # as in `run`

    typer.echo(job.plan(width))
