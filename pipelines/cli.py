"""The command line: read options and call the module of the subcommand.

Those modules are imported when they are called, so that `--help` answers at once.
"""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import typer

from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.names import shortened, too_long

from .model_commands import models_app, training_app
from .options import (
    Anonymise,
    AsJson,
    Config,
    Device,
    DryRun,
    FailFast,
    ModelName,
    MppTable,
    MppText,
    OutPath,
    Overrides,
    Overwrite,
    Pattern,
    Preset,
    Quiet,
    Recursive,
    Roi,
    Scene,
    Scheduler,
    SlidePath,
    Slides,
    TissueOutlines,
    Workers,
    parse_mpp,
    settings_of,
    where_to_run,
)
from .result_commands import results_app, review_app

LONG_WORD = re.compile(r"\S{1000,}")  # a path or value that a message repeats

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Percent viable tumour on whole-slide images. Research use only.",
)


@app.command()
def run(
    slide: SlidePath,
    out: OutPath = Path("wsi-necrosis-out"),
    model: ModelName = None,
    mpp: MppText = None,
    scene: Scene = None,
    roi: Roi = None,
    tissue: TissueOutlines = None,
    device: Device = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: Config = None,
    preset: Preset = None,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure percent viable tumour on one slide."""
    options = where_to_run(model, device, workers, scheduler)
    settings = settings_of(preset, config, overrides, options)
    # slow to import; `--help` does not need them
    from . import run as job
    from .console import printout
    from .console.progress import watching

    asked = job.Options(parse_mpp(mpp), scene, roi, tissue, overwrite)
    if dry_run:
        typer.echo(job.dry_run(slide, settings, asked))
        return
    with watching(quiet=quiet or as_json) as watcher:
        report = job.run(slide, out, settings, watcher, asked)
    if as_json:
        typer.echo(printout.as_json(report))
    elif not quiet:
        typer.echo(printout.describe(report))


@app.command()
def batch(
    slides: Slides,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of results.")],
    recursive: Recursive = False,
    pattern: Pattern = None,
    mpp_table: MppTable = None,
    model: ModelName = None,
    mpp: MppText = None,
    scene: Scene = None,
    roi: Roi = None,
    tissue: TissueOutlines = None,
    device: Device = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    config: Config = None,
    preset: Preset = None,
    overrides: Overrides = None,
    overwrite: Overwrite = False,
    fail_fast: FailFast = False,
    anonymise: Anonymise = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Measure percent viable tumour on many slides; one that fails does not end the others."""
    options = where_to_run(model, device, workers, scheduler)
    settings = settings_of(preset, config, overrides, options, ["cluster.processes=true"])
    # as in `run`
    from .batch import batch as job
    from .batch.inputs import Where
    from .console.batch_progress import watching_batch

    where = Where(pattern, recursive, parse_mpp(mpp), mpp_table, scene, roi, tissue)
    asked = job.Options(out, where, overwrite, fail_fast, key=anonymise)
    if dry_run:
        from .batch.preview import preview_batch

        for line in preview_batch(slides, settings, asked, as_json=as_json):
            typer.echo(line)
        return
    with watching_batch(quiet=quiet or as_json) as watcher:
        code = job.batch(slides, settings, asked, watcher, typer.echo if as_json else None)
    raise typer.Exit(code)


@app.command()
def demo(
    out: OutPath = Path("wsi-necrosis-out"),
    seed: Annotated[int, typer.Option(help="Of the synthetic slide.")] = 0,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Write a synthetic slide with known areas, score it with a tiny model, and compare."""
    settings = settings_of(None, None, ["model.name=phantom"], {"cluster.workers": workers})
    # as in `run`
    from . import demo as job
    from .console.progress import watching

    with watching(quiet=quiet) as watcher:
        comparison = job.demo(out, seed, settings, watcher)
    if not quiet:
        typer.echo(comparison)


@app.command()
def bench(
    slide: SlidePath,
    model: ModelName = None,
    mpp: MppText = None,
    device: Device = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overrides: Overrides = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on the screen.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a slide is analysed on this machine, and where the time goes; nothing is kept."""
    options = where_to_run(model, device, workers, scheduler)
    settings = settings_of(None, None, overrides, options)
    # as in `run`
    from . import bench as job
    from .console.progress import watching
    from .console.signals import interruptible

    with watching(quiet=quiet or as_json) as watcher, interruptible():
        found = job.bench(slide, settings, parse_mpp(mpp), watcher)
    typer.echo(json.dumps(found.to_dict(), indent=2) if as_json else job.describe(found))


@app.command()
def info(slide: SlidePath, mpp: MppText = None, scene: Scene = None, as_json: AsJson = False) -> None:
    """Show a slide's format, size, levels, scenes, pixel size and where that came from, and what to doubt."""
    from . import info as job  # as in `run`

    typer.echo(job.info(slide, parse_mpp(mpp), scene, as_json=as_json))


@app.command()
def doctor(out: OutPath = Path("wsi-necrosis-out")) -> None:
    """Check what an analysis needs on this machine, and say what mends it."""
    from . import doctor as job  # as in `run`

    said, code = job.doctor(out)
    typer.echo(said)
    raise typer.Exit(code)


@app.command()
def config(preset: Preset = None, config_file: Config = None, overrides: Overrides = None) -> None:
    """Print the settings: the shipped file with its comments, or all in force with the options given."""
    from . import config as job  # as in `run`

    typer.echo(job.config(preset, config_file, overrides or []), nl=False)


for commands in (results_app, training_app):
    app.add_typer(commands)
app.add_typer(review_app, name="review")
app.add_typer(models_app, name="models")


def main() -> None:
    """Entry point of `wsi-necrosis`: errors raised on purpose become one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names need not be text
    try:
        app()
    except WsiNecrosisError as error:
        sys.stderr.write(f"wsi-necrosis: {LONG_WORD.sub(lambda word: shortened(word[0]), str(error))}\n")
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        sys.stderr.write(f"wsi-necrosis: {too_long(error.filename)}\n")
        sys.exit(UsageError.exit_code)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"wsi-necrosis {package_version('wsi-necrosis')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


if __name__ == "__main__":
    main()
