"""Annotated slides: the rows of `slides.csv`, checked before a tile is cut."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.dataset.annotations import (
    Outline,
    read_outlines,
    refuse_off_slide,
    refuse_unknown_classes,
)
from wsi_necrosis.dataset.cases import refuse_two_spellings
from wsi_necrosis.dataset.faults import refuse
from wsi_necrosis.dataset.tables import numbers, path_in, positive, read_rows
from wsi_necrosis.errors import PixelSizeError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, check_given_mpp
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.grid import SNAP

REQUIRED = ("slide", "case", "annotations")


@dataclass(frozen=True)
class Field:
    """The tiles to cut: side in pixels, and size of a pixel in um."""

    tile_px: int
    mpp: float


@dataclass(frozen=True)
class Row:
    """A row of `slides.csv`.

    Attributes
    ----------
    name : str
        The slide as the table writes it.
    path, annotations : Path
        The slide, and its GeoJSON.
    case : str
        The patient.
    mpp : GivenMpp or None
        Pixel size of level 0, which overrides that of the file.
    """

    name: str
    path: Path
    case: str
    annotations: Path
    mpp: GivenMpp | None


@dataclass(frozen=True)
class AnnotatedSlide:
    """A slide to cut tiles from, with its metadata, of which the pixel size is known, and its annotated areas."""

    row: Row
    info: SlideInfo
    outlines: Sequence[Outline]


def read_annotated(table: Path, field: Field) -> tuple[AnnotatedSlide, ...]:
    """Slides and annotations of a table, in its order; all faults are found before a tile is cut.

    Parameters
    ----------
    table : Path
        CSV with the columns slide, case and annotations (paths relative to it), and optionally mpp_x and mpp_y
        (um per level-0 pixel), which override those of the file.
    field : Field
        The tiles that are wanted; slides more than 2 % coarser are refused.

    Raises
    ------
    DatasetError
        The table or an annotation cannot be read or names an unknown class; outlines miss their slide; a slide is
        missing, listed twice, has no case, no pixel size or a coarser one than the field's; a case is written in
        two ways. All faults of one kind are listed.
    SlideError
        A slide cannot be opened.
    """
    rows = _rows(table)
    _check(rows, table)
    outlines = {row.annotations: read_outlines(row.annotations) for row in rows}
    refuse_unknown_classes(outlines)
    slides = tuple(AnnotatedSlide(row, _info(row), outlines[row.annotations]) for row in rows)
    for slide in slides:
        refuse_off_slide(slide.outlines, slide.info, slide.row.annotations)
    unsized = (slide.row.name for slide in slides if slide.info.mpp is None)
    refuse(unsized, f"{table} has a missing pixel size for", "give its columns mpp_x and mpp_y")
    coarse = (f"{it.row.name} ({it.info.mpp})" for it in slides if _is_coarse(it.info.known_mpp, field))
    refuse(
        coarse,
        f"{table} names slides with coarser pixels than the {field.mpp:g} um of a tile:",
        "leave them out, or train at a coarser pixel size",
    )
    return slides


def _rows(table: Path) -> list[Row]:
    rows = read_rows(table, REQUIRED)
    found = numbers(rows, {"mpp_x": positive, "mpp_y": positive}, "slide", table)
    names = [row["slide"].strip() for row in rows]
    incomplete = (name for name, sizes in zip(names, found, strict=True) if len(sizes) == 1)
    refuse(incomplete, f"{table} gives one of mpp_x and mpp_y for", "give both or neither")
    implausible = (name for name, sizes in zip(names, found, strict=True) if not _is_plausible(sizes))
    refuse(implausible, f"{table} gives pixel sizes that no scan has for", "give um per level-0 pixel")
    return [
        Row(
            name=name,
            path=path_in(table, name),
            case=row["case"].strip(),
            annotations=path_in(table, row["annotations"]),
            mpp=GivenMpp(Mpp(sizes["mpp_x"], sizes["mpp_y"]), f"table {table.name}") if sizes else None,
        )
        for name, row, sizes in zip(names, rows, found, strict=True)
    ]


def _is_plausible(sizes: Mapping[str, float]) -> bool:
    try:
        check_given_mpp(GivenMpp(Mpp(sizes["mpp_x"], sizes["mpp_y"])) if sizes else None)
    except PixelSizeError:
        return False
    return True


def _check(rows: Sequence[Row], table: Path) -> None:
    refuse((row.name for row in rows if not row.case), f"{table} names no case for", "splits are by case")
    refuse_two_spellings((row.case for row in rows), table)
    times = Counter(os.path.normpath(row.path) for row in rows)
    twice = {row.name for row in rows if times[os.path.normpath(row.path)] > 1}
    refuse(twice, f"{table} lists more than once", "put all annotations of a slide into one file")
    absent = (row.name for row in rows if not row.name or not row.path.exists())
    refuse(absent, f"{table} names slides that are not there:", "paths are relative to the table")
    bare = (row.name for row in rows if not row.annotations.is_file())  # without annotations
    refuse(bare, f"{table} names annotations that are not there for", "paths are relative to the table")


def _info(row: Row) -> SlideInfo:
    with open_slide(row.path, row.mpp) as slide:
        return slide.info


def _is_coarse(mpp: Mpp, field: Field) -> bool:
    return max(mpp.x, mpp.y) > field.mpp * (1 + SNAP)
