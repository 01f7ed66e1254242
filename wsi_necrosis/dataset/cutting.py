"""Tiles cut from annotated slides, kept in a folder until slides, annotations or settings change."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.dataset.annotated import AnnotatedSlide, Field, read_annotated
from wsi_necrosis.dataset.cell_labels import label_cells
from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.tables import COLUMNS
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.files import atomic_write, require_writable, write_json, write_text
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.provenance import digest
from wsi_necrosis.settings.run import GridSettings, load_settings
from wsi_necrosis.slides.black_fill import whiten_fill
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import Slide, open_slide
from wsi_necrosis.tiling.grid import TileGrid, lay_grid

CUT_VERSION = 3  # raised by hand whenever the same inputs would give other tiles
SIDE_BY_SIDE = GridSettings(stride_tiles=1.0, block_cells=1)
FRINGE_L0 = 1e-6  # rounding; a tile that ends this far beyond the plane is inside

log = logging.getLogger(__name__)


def cut_slides(table: Path, scratch: Path, field: Field, min_cover: float) -> Path:
    """Cut tiles of annotated slides into `scratch/tiles`, unless they lie there from the same inputs.

    Tiles lie side by side from the corner of a slide's plane. One is kept where polygons of one label cover
    enough of it; its pixels are averaged as those of a slide that is scored, and within 2 % of the field's. What was
    not scanned is white, as in scoring.

    Parameters
    ----------
    table : Path
        `slides.csv`; see `annotated.read_annotated`.
    scratch : Path
        Folder for the tiles; made if it is not there.
    field : Field
        Side and pixel size of the tiles.
    min_cover : float
        Least share of a tile that polygons of one label must cover.

    Returns
    -------
    Path
        The table of the tiles, `scratch/tiles/labels.csv`.

    Raises
    ------
    DatasetError, SlideError
        The table, an annotation or a slide is invalid, or no tile is covered enough; nothing is written then.
    StoreError
        Tiles cannot be written.
    """
    slides = read_annotated(table, field)
    inputs = _inputs(slides, field, min_cover)
    folder = scratch / "tiles"
    if _recorded(folder) == digest(inputs):
        log.info("%s: tiles of the same slides and annotations lie there already", folder)
        return folder / "labels.csv"
    require_writable(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder) as partial:
        partial.mkdir()
        entries = [entry for slide in slides for entry in _cut_slide(slide, partial, field, min_cover)]
        if not entries:
            raise DatasetError(
                f"{table}: no tile of {field.tile_px} px at {field.mpp:g} um is covered to data.min_cover "
                f"{min_cover:g} by one class; annotate larger areas or lower it (the log counts what Ignore* "
                "and crossing outlines took)"
            )
        write_json(partial / "inputs.json", {"digest": digest(inputs), "inputs": inputs})
        write_text(partial / "labels.csv", _as_csv(entries))
    return folder / "labels.csv"


def _inputs(slides: Sequence[AnnotatedSlide], field: Field, min_cover: float) -> dict[str, Any]:
    """Everything that the tiles depend on."""
    facts = [
        {
            "slide": cut.row.name,
            "case": cut.row.case,
            "fingerprint": slide_fingerprint(cut.info.files),
            "mpp": asdict(cut.info.known_mpp),
            "annotations": hashlib.sha256(cut.row.annotations.read_bytes()).hexdigest(),
        }
        for cut in slides
    ]
    return {"version": CUT_VERSION, "field": asdict(field), "min_cover": min_cover, "slides": facts}


def _recorded(folder: Path) -> str | None:
    """Digest of the inputs of the tiles in a folder; None where there are none."""
    try:
        return str(json.loads((folder / "inputs.json").read_text(encoding="utf-8"))["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _cut_slide(cut: AnnotatedSlide, folder: Path, field: Field, min_cover: float) -> list[Entry]:
    """Write the labelled tiles of a slide."""
    grid = lay_grid(cut.info, field.mpp, field.tile_px, SIDE_BY_SIDE)
    found = label_cells(cut.outlines, cut.info.bounds_l0, grid, min_cover)
    inside = {cell: label for cell, label in found.labels.items() if _is_inside(grid.tile_box(*cell), grid)}
    prefix = f"{digest(cut.row.name)[:8]}-{cut.row.path.stem}"  # slides of one name may lie in two folders
    entries = []
    with open_slide(cut.row.path, cut.row.mpp) as slide:
        cutter = _Cutter(slide, grid.mpp)
        for cell, label in inside.items():
            box = grid.tile_box(*cell)
            path = folder / f"{prefix}-{round(box.x_l0)}-{round(box.y_l0)}.png"
            if cutter.write(box, path):
                entries.append(_entry(cut, box, path, label, grid))
    log.info(
        "%s: %d tiles; left out are %d that overhang the slide, %d that cannot be read, %d under Ignore* and %d where "
        "outlines of two classes cross or cover alike",
        cut.row.name, len(entries), len(found.labels) - len(inside), len(inside) - len(entries), found.ignored,
        found.disputed,
    )  # fmt: skip
    return entries


def _is_inside(box: Box, grid: TileGrid) -> bool:
    plane = grid.plane
    return box.right_l0 <= plane.right_l0 + FRINGE_L0 and box.bottom_l0 <= plane.bottom_l0 + FRINGE_L0


@dataclass(frozen=True)
class _Cutter:
    """Writes tiles of a slide."""

    slide: Slide
    mpp: Mpp

    def write(self, box: Box, path: Path) -> bool:
        """Write a tile if all of it can be read; return whether it was written."""
        region = self.slide.read(box, self.mpp)
        if not region.unreadable:
            Image.fromarray(self._without_fill(region.rgb)).save(path)
        return not region.unreadable

    def _without_fill(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The tile with black fill in white; the slide is only asked for fill where a tile may hold some."""
        white = whiten_fill(rgb[None].copy())[0]
        return white if not np.array_equal(white, rgb) and self._has_black_fill else rgb

    @cached_property
    def _has_black_fill(self) -> bool:
        return read_overview(self.slide, load_settings().tissue.mpp_um).has_black_fill


def _entry(cut: AnnotatedSlide, box: Box, path: Path, label: str, grid: TileGrid) -> Entry:
    return Entry(
        name=path.name,
        path=path,
        label=label,
        case=cut.row.case,
        slide=cut.row.name,
        x_l0=round(box.x_l0),
        y_l0=round(box.y_l0),
        mpp=grid.mpp.side,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def _as_csv(entries: Sequence[Entry]) -> str:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(
        (entry.name, entry.case, entry.slide, entry.x_l0, entry.y_l0, entry.label, entry.mpp, entry.sha256)
        for entry in entries
    )
    return lines.getvalue()
