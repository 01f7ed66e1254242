"""Options that several commands share, and how they are parsed."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.geometry import Mpp

if TYPE_CHECKING:
    from wsi_necrosis.settings.run import Settings

SlidePath = Annotated[Path, typer.Argument(help="Whole-slide image: SVS, NDPI, MRXS, SCN, BIF, TIFF, DICOM.")]
OutPath = Annotated[Path, typer.Option("-o", "--out", help="Folder of results.")]
ResultsPath = Annotated[
    Path, typer.Argument(metavar="OUT", help="Output folder, or the folder of one slide.")
]
MppText = Annotated[
    str | None,
    typer.Option("--mpp", metavar="X[,Y]", help="Pixel size of level 0 in um, where the file has none."),
]
Scene = Annotated[
    str | None,
    typer.Option(
        "--scene", help="Number or name of the image, where a file holds several. [default: largest]"
    ),
]
ModelName = Annotated[str | None, typer.Option("--model", help="Shipped model or checkpoint folder.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Blocks at once. [default: one per core]")
]
Scheduler = Annotated[str | None, typer.Option("--scheduler", help="Address of a running Dask scheduler.")]
Config = Annotated[Path | None, typer.Option("--config", help="YAML file over the shipped settings.")]
Preset = Annotated[str | None, typer.Option("--preset", help="Shipped preset over the shipped settings.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=V", help="One setting; repeatable.")
]
ModelNames = Annotated[
    list[str] | None,
    typer.Argument(metavar="[MODEL]...", help="Names or checkpoint folders. [default: all shipped]"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no result on the screen.")]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Print results as JSON, a line for each slide of a batch, and nothing else."),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace results made from other inputs; keep those of the same.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")]

Tiles = Annotated[Path | None, typer.Option("--tiles", help="Labelled tiles: a folder, or a table.")]
OodTables = Annotated[
    list[Path] | None,
    typer.Option("--ood", help="Table of pictures and slides that should be refused; may be repeated."),
]

Roi = Annotated[
    Path | None,
    typer.Option(
        "--roi", help="GeoJSON of the region of interest; of many slides a folder with a file for each."
    ),
]
TissueOutlines = Annotated[
    Path | None,
    typer.Option("--tissue", help="GeoJSON of the tissue, in place of what is found; a folder as for --roi."),
]

# Of `case` alone.
CaseSource = Annotated[
    Path, typer.Argument(metavar="MANIFEST.csv|OUT", help="Manifest of the slides, or a folder of results.")
]
CaseOut = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="Folder of results. [default: OUT, with a manifest wsi-necrosis-out]"),
]
Annotations = Annotated[
    Path | None,
    typer.Option("--annotations", metavar="DIR", help="GeoJSON of outlined areas, a file for each slide."),
]
Grades = Annotated[
    list[str] | None,
    typer.Option(
        "--grade", metavar="NAME|FILE", help="huvos, euramos, ccg-pog, iaslc or a YAML file; repeatable."
    ),
]
Reviews = Annotated[
    list[str] | None, typer.Option("--review", metavar="NAME", help="Labels of a review, too; repeatable.")
]
ReaderName = Annotated[
    str | None, typer.Option("--reader", help="Whose labels, where several have labelled.")
]
DrawnPolicy = Annotated[
    Literal["tumour", "tumour_bed"] | None,
    typer.Option(
        "--policy", help="Denominator of outlined areas. [default: that of the results, else tumour]"
    ),
]

# Of `batch` alone.
Slides = Annotated[
    list[str],
    typer.Argument(metavar="FOLDER|PATTERN|SLIDE...|MANIFEST.csv", help="What to analyse; quote a pattern."),
]
Recursive = Annotated[bool, typer.Option("--recursive", help="Look in folders of the folder, too.")]
Pattern = Annotated[str | None, typer.Option("--pattern", help="Names of slides in the folder, as '*.svs'.")]
MppTable = Annotated[
    Path | None, typer.Option("--mpp-table", help="Pixel sizes: CSV of path or name, mpp_x, mpp_y (um).")
]
Anonymise = Annotated[
    Path | None,
    typer.Option(
        "--anonymise", metavar="KEY", help="Codes in place of names; KEY is a file, made if need be."
    ),
]
FailFast = Annotated[bool, typer.Option("--fail-fast", help="Stop at the first slide that fails.")]


def settings_of(
    preset: str | None,
    config_file: Path | None,
    overrides: Sequence[str] | None,
    options: Mapping[str, Any],
    defaults: Sequence[str] = (),
) -> Settings:
    """Settings in force: the shipped ones, then the preset, the file, the overrides and the options.

    Parameters
    ----------
    preset : str or None
        Name of a shipped preset.
    config_file : Path or None
        A YAML file.
    overrides : sequence of str or None
        What `--set` gives: "a.b=value".
    options : mapping of str to Any
        Settings that have their own option, by their dotted names; None where it is not given.
    defaults : sequence of str
        In which the command differs from the shipped settings, as `overrides`; all else comes over them.

    Raises
    ------
    SettingsError
        A preset, file or setting that is not there, or a value that does not fit.

    Examples
    --------
    >>> settings_of(None, None, ["grid.stride_tiles=0.5"], {"cluster.workers": 2}).cluster.workers
    2
    """
    # Settings bring pydantic and YAML, which `--help` does not need.
    from wsi_necrosis.settings.run import load_settings

    named = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return load_settings(preset, config_file, [*(overrides or []), *named], defaults=defaults)


def where_to_run(
    model: str | None, device: str | None, workers: int | None, scheduler: str | None
) -> dict[str, Any]:
    """Settings that have their own option, by their dotted names."""
    return {
        "model.name": model,
        "model.device": device,
        "cluster.workers": workers,
        "cluster.scheduler": scheduler,
    }


def parse_mpp(text: str | None) -> Mpp | None:
    """Pixel size that `--mpp` gives, in micrometres per pixel; None without the option.

    Raises
    ------
    SettingsError
        It is neither a number nor two joined by a comma.

    Examples
    --------
    >>> parse_mpp("0.5,0.25")
    Mpp(x=0.5, y=0.25)
    """
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in {1, 2}:
        raise SettingsError(f"--mpp {text}: give one number, or two joined by a comma, in um per pixel")
    return Mpp(values[0], values[-1])


def first_line(text: str) -> None:
    """Say what begins, before modules are imported that take seconds; on standard error, as all progress."""
    sys.stderr.write(f"{text}; loading\n")
    sys.stderr.flush()
