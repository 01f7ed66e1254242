"""The sheet on which a person labels cells: one HTML page that needs no network, a CSV to fill in, files for QuPath."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator
from pathlib import Path
from string import Template
from uuid import NAMESPACE_OID, uuid5

from PIL import Image, ImageDraw

from wsi_necrosis.errors import SlideError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import write_json, write_text
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.review.sample import PLACE, ReviewCell, ReviewSlide, Sample, sample_path
from wsi_necrosis.slides.slide import Slide, open_slide

NEAR_UM, FAR_UM = 0.5, 2.0  # pixel sizes of the two pictures of a cell
NEAR_CELLS, FAR_CELLS = 1.6, 7.0  # what they show, in sides of the cell
OUTLINE, SHADOW = (255, 221, 0), (0, 0, 0)
JPEG_QUALITY = 85
PAGE = Template((Path(__file__).parent / "sheet.html").read_text(encoding="utf-8"))


def write_sheet(out: Path, sample: Sample) -> Path:
    """Write the page, the CSV and a GeoJSON for each slide, and return the page's path.

    Nothing in them tells what the model predicted.

    Raises
    ------
    SlideError
        A slide is not where it was when it was analysed.
    """
    place = sample_path(out, sample.name)
    page = place.with_suffix(".html")
    cells = list(_pictured(sample))
    facts = [{**_place(cell, slide), "near": near, "far": far} for cell, slide, near, far in cells]
    data = json.dumps({"name": sample.name, "case": sample.case, "seed": sample.seed, "cells": facts})
    title = html.escape(sample.case or sample.name)
    write_text(page, PAGE.substitute(title=title, count=len(cells), data=data.replace("<", "\\u003c")))
    rows = [{**_place(cell, slide), "label": ""} for cell, slide, _, _ in cells]
    write_csv(place.with_name(f"{sample.name}-cells.csv"), rows, ("cell", "label", "slide", *PLACE))
    folder = place.with_name(f"{sample.name}-qupath")
    folder.mkdir(exist_ok=True)
    for at, slide in enumerate(sample.slides):
        features = [_feature(cell, slide) for cell in sample.cells if cell.slide == at]
        if features:
            name = f"{Path(slide.folder).name}.geojson"
            write_json(folder / name, {"type": "FeatureCollection", "features": features})
    return page


def _place(cell: ReviewCell, slide: ReviewSlide) -> dict[str, int | str]:
    """Which cell it is: by its number, and by its place, which tells the cells of one review from another's."""
    return {"cell": cell.number, "slide": slide.slide_id, **dict(zip(PLACE, cell.place, strict=True))}


def _pictured(sample: Sample) -> Iterator[tuple[ReviewCell, ReviewSlide, str, str]]:
    """Cells in their order with two pictures each, as data URIs; every slide is opened once."""
    pictures: dict[int, tuple[str, str]] = {}
    for at, slide in enumerate(sample.slides):
        wanted = [cell for cell in sample.cells if cell.slide == at]
        if not wanted:
            continue
        if not slide.path or not Path(slide.path).exists():
            raise SlideError(
                f"{slide.slide_id} is not at {slide.path or 'a known path'} any more; bring it back, as the pictures "
                "of its cells are cut from it"
            )
        with open_slide(slide.path, Mpp(slide.mpp_x, slide.mpp_y)) as opened:
            for cell in wanted:
                pictures[cell.number] = (
                    _picture(opened, cell, NEAR_CELLS, NEAR_UM),
                    _picture(opened, cell, FAR_CELLS, FAR_UM),
                )
    for cell in sample.cells:
        yield cell, sample.slides[cell.slide], *pictures[cell.number]


def _picture(slide: Slide, cell: ReviewCell, sides: float, um: float) -> str:
    """A cell in its surroundings, outlined: a JPEG as a data URI."""
    left, top, width, height = cell.box_l0
    own = slide.info.known_mpp
    mpp = Mpp(max(um, own.x), max(um, own.y))
    around = Box(
        left - width * (sides - 1) / 2, top - height * (sides - 1) / 2, width * sides, height * sides
    )
    image = Image.fromarray(slide.read(around, mpp).rgb)
    inner = [side * (sides - 1) / (2 * sides) for side in image.size]
    box = (inner[0], inner[1], image.width - inner[0] - 1, image.height - inner[1] - 1)
    pen = ImageDraw.Draw(image)
    pen.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), outline=SHADOW, width=4)
    pen.rectangle((box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1), outline=OUTLINE, width=2)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()


def _feature(cell: ReviewCell, slide: ReviewSlide) -> dict[str, object]:
    """A cell as an annotation in QuPath's frame, without a class."""
    return {
        "type": "Feature",
        "id": str(uuid5(NAMESPACE_OID, f"{slide.fingerprint} {cell.row}.{cell.col}")),
        "geometry": cell.geometry,
        "properties": {"objectType": "annotation", "name": f"cell {cell.number}", "isLocked": True},
    }
