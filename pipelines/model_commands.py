"""Commands that make and judge models: `train`, `evaluate` and the group `models`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from wsi_necrosis.errors import SettingsError

from .options import ModelNames, OodTables, OutPath, Overrides, Preset, Tiles, first_line

training_app = typer.Typer()
models_app = typer.Typer(no_args_is_help=True, help="The models that come with the package, and your own.")


@training_app.command()
def train(
    config_file: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="YAML file over the shipped configs/train.yaml.")
    ] = None,
    tiles: Tiles = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the new checkpoint.")] = Path("model"),
    preset: Preset = None,
    overrides: Overrides = None,
) -> None:
    """Train a tile model on labelled tiles; an interrupted training resumes with the same command."""
    # as in `run`
    from wsi_necrosis.model.backend import require_torch

    require_torch("train", extra="train")
    first_line(f"wsi-necrosis train: {tiles or 'tiles of the settings'} to {out}")
    from . import train as job  # torch takes seconds
    from .console.signals import interruptible
    from .console.slide_log import spoken_log

    given = [] if tiles is None else [f"data.tiles={json.dumps(str(tiles))}"]
    with interruptible("fits that are done are kept, the same command resumes"), spoken_log():
        typer.echo(job.train(config_file, out, [*(overrides or []), *given], preset))


@training_app.command()
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
    # as in `run`
    from .console.signals import interruptible
    from .console.slide_log import spoken_log
    from .evaluation import evaluate as job

    kept = "fits that are done are kept, and the same command uses them; all else it computes again"
    with interruptible(kept), spoken_log():
        found = job.evaluate(job.Options(model, tiles, out, card, tuple(ood or ()), within_case, mpp))
    typer.echo(found)


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
