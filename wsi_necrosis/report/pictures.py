"""Close pictures of cells, cut from the slide once and kept beside its results."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from wsi_necrosis.errors import WsiNecrosisError
from wsi_necrosis.files import atomic_write
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.report.pages import jpeg_of
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import Slide, open_slide
from wsi_necrosis.tiling.grid import TileGrid

PICTURE_UM = 0.75  # side of a pixel
SIDES = 1.6  # of the picture, in sides of the cell

Cell = tuple[int, int]
log = logging.getLogger(__name__)


def cell_pictures(
    folder: Path, cells: Iterable[Cell], grid: TileGrid, slide: Path | None, facts: Mapping[str, Any]
) -> dict[Cell, bytes]:
    """JPEGs of cells in their surroundings, by (row, col); those that can neither be found nor be cut are left out.

    Parameters
    ----------
    folder : Path
        Where they are kept, as `<row>.<col>.jpg`; pictures of other cells are deleted there.
    cells : iterable of (row, col)
        The cells.
    grid : TileGrid
        Positions of the cells.
    slide : Path or None
        The slide's file, for pictures that are not there yet.
    facts : mapping
        Its `fingerprint`, `mpp_x`, `mpp_y` and `scene`.

    Raises
    ------
    StoreError
        The folder cannot be written.
    """
    places = {cell: folder / f"{cell[0]}.{cell[1]}.jpg" for cell in cells}
    missing = [cell for cell, path in places.items() if not path.is_file()]
    cut = _cut(missing, grid, slide, facts) if missing and slide is not None else {}
    with atomic_write(folder, durable=False) as partial:
        partial.mkdir()
        for cell, path in places.items():
            found = cut.get(cell) or (path.read_bytes() if path.is_file() else None)
            if found:
                (partial / path.name).write_bytes(found)
    return {cell: path.read_bytes() for cell, path in places.items() if path.is_file()}


def _cut(cells: list[Cell], grid: TileGrid, path: Path, facts: Mapping[str, Any]) -> dict[Cell, bytes]:
    mpp = Mpp(facts["mpp_x"], facts["mpp_y"])
    try:
        with open_slide(path, mpp, scene=facts["scene"]) as slide:
            if slide_fingerprint(slide.info.files) != facts["fingerprint"]:
                log.warning("%s has changed; the report shows no pictures of its cells", path)
                return {}
            return {cell: jpeg_of(_picture(slide, grid, cell)) for cell in cells}
    except WsiNecrosisError as error:
        log.warning("the report lacks pictures of cells: %s", error)
        return {}


def _picture(slide: Slide, grid: TileGrid, cell: Cell) -> Image.Image:
    width, height = grid.cell_l0
    own, margin = slide.info.known_mpp, (SIDES - 1) / 2
    left, top = grid.plane.x_l0 + (cell[1] - margin) * width, grid.plane.y_l0 + (cell[0] - margin) * height
    box = Box(left, top, SIDES * width, SIDES * height)
    return Image.fromarray(slide.read(box, Mpp(max(PICTURE_UM, own.x), max(PICTURE_UM, own.y))).rgb)
