"""Read labelled tiles from sources of four layouts.

`data.layout` names the layout; `auto` detects it:

table
    A CSV file, or a folder that holds `labels.csv`: columns file, case and label, and optionally slide, x,
    y, mpp and sha256; further columns are ignored. Files are named relative to the table.
tcia
    The download of TCIA's Osteosarcoma-Tumor-Assessment as it comes, labelled by a `PathologistValidation.csv`
    in each folder of pictures, by `ML_Features_1144.csv`, or by both.
slides
    A folder that holds `slides.csv` (or that file): columns slide, case and annotations, and optionally mpp_x
    and mpp_y. Tiles are cut where QuPath's polygons of one class cover them.
folders
    CASE/LABEL/picture.

Labels are those of TCIA or names of `classes.CLASSES`, spelled exactly so. No label falls into a default
class, and all faults of one kind are listed at once.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.cutting import cut_slides
from wsi_necrosis.dataset.entries import Entry, settle
from wsi_necrosis.dataset.folders import read_folders
from wsi_necrosis.dataset.tables import read_table
from wsi_necrosis.dataset.tcia import FEATURES_PATTERN, VALIDATION_PATTERN, read_tcia, tables_below
from wsi_necrosis.dataset.tiles import LabelledTile, cases_of
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.settings.train import TileDataSettings

Layout = Literal["table", "tcia", "folders", "slides"]

TABLES: Mapping[str, str] = MappingProxyType({"table": "labels.csv", "slides": "slides.csv"})
READERS: Mapping[str, Callable[[Path], tuple[Entry, ...]]] = MappingProxyType(
    {"table": read_table, "slides": read_table, "tcia": read_tcia, "folders": read_folders}
)

log = logging.getLogger(__name__)


def read_tiles(settings: TileDataSettings, scratch: Path, field: Field) -> tuple[LabelledTile, ...]:
    """Labelled tiles of any source, in its order.

    Parameters
    ----------
    settings : TileDataSettings
        Path and layout of the source, the pixel size of pictures that have none, and how mixed tiles are used.
    scratch : Path
        Where tiles of annotated slides are cut to; other layouts write nothing.
    field : Field
        The tiles to cut from annotated slides.

    Raises
    ------
    DatasetError
        The source is not there or not of its layout, or does not describe its tiles: see the readers.
    SettingsError
        The path names an environment variable that is not set.
    SlideError
        An annotated slide cannot be opened.
    StoreError
        Tiles cannot be written.
    """
    source = settings.path
    layout = layout_of(settings)
    log.info("%s is read as %s", source, layout)
    place = _place(source, layout)
    if layout == "slides":
        place = cut_slides(place, scratch, field, settings.min_cover)
    tiles = settle(READERS[layout](place), place, settings)
    _log_counts(tiles)
    return tiles


def layout_of(settings: TileDataSettings) -> Layout:
    """The layout that settings name, or that of the source where they leave it to be found.

    Raises
    ------
    DatasetError, SettingsError
        As `read_tiles`, where the source is not there.
    """
    return find_layout(settings.path) if settings.layout == "auto" else settings.layout


def find_layout(source: Path) -> Layout:
    """Tell the layout of a source by the files that it holds.

    Raises
    ------
    DatasetError
        There is no such folder or CSV file.
    """
    if source.is_file() and source.suffix.lower() == ".csv":
        return "slides" if source.name == TABLES["slides"] else "table"
    if not source.is_dir():
        raise DatasetError(f"{source} is no folder and no CSV file; give labelled tiles with --tiles PATH")
    if (source / TABLES["table"]).is_file():
        return "table"
    if any(tables_below(source, pattern) for pattern in (FEATURES_PATTERN, VALIDATION_PATTERN)):
        return "tcia"
    return "slides" if (source / TABLES["slides"]).is_file() else "folders"


def _place(source: Path, layout: Layout) -> Path:
    """The table of a source, or its folder where no one table describes it."""
    if source.is_dir():
        return source / TABLES[layout] if layout in TABLES else source
    if layout not in TABLES:
        raise DatasetError(
            f"{source} is no folder, as data.layout {layout} needs; give one, or another layout"
        )
    return source


def _log_counts(tiles: Sequence[LabelledTile]) -> None:
    log.info("%d tiles of %d cases: %s", len(tiles), len(cases_of(tiles)), _counts(tiles))
    for case in cases_of(tiles):
        log.info("%s: %s", case, _counts([tile for tile in tiles if tile.case == case]))


def _counts(tiles: Sequence[LabelledTile]) -> str:
    labels = Counter("mixed" if tile.label is None else CLASSES[tile.label] for tile in tiles)
    return ", ".join(f"{labels[name]} {name}" for name in (*CLASSES, "mixed") if labels[name])
