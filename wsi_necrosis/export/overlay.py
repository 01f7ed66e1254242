"""`overlay.png` and `thumbnail.png`: the results drawn over the slide with a legend, and the slide alone.

The overlay has two panels, the class of each cell over the slide and the probability of viable tumour,
and a legend with the areas. Panels stand side by side or one above the other, and the legend beside or
below them, whichever shows the slide larger.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.export.layout import HEAT_BELOW, LEGEND_WIDE, MARGIN, STRIP, Layout, lay_out, text_unit
from wsi_necrosis.export.picture import (
    RGB,
    Layers,
    class_map,
    class_swatches,
    draw_scale_bar,
    fit,
    font,
    heat_colours,
    heat_picture,
    slide_picture,
)
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.quantify.sentences import (
    REASONS,
    estimators_text,
    interval_text,
    mm2_text,
    out_of_domain_text,
    percent_text,
    short_warnings,
)
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import ExportSettings
from wsi_necrosis.slides.overview import Overview

PANELS = ("Class of each cell", "Probability of viable tumour")
RESEARCH_ONLY = "Research use only. Not for diagnosis."
PNG_EFFORT = 2  # compression level: a quarter to a third of the time of the default, for a tenth more bytes
SWATCH_WIDE = 2  # units
MOST_LINES = 5  # of one entry of the legend; more do not fit
Colour = tuple[int, int, int]
INK: Colour = (0, 0, 0)
GREY: Colour = (95, 95, 95)
DOUBT: Colour = (160, 40, 0)
Entry = tuple[str, float, str, Colour]  # of the legend: text, size in units, weight, colour


@dataclass(frozen=True)
class Caption:
    """Origin of a picture, as text: slide, model with its notice, pixel size, version of this program, and date."""

    slide: str
    model: str
    notice: str
    pixel_size: str
    version: str
    date: str


def write_overlay(
    path: Path, layers: Layers, result: Mapping[str, Any], caption: Caption, settings: ExportSettings
) -> None:
    """Write the classes and the probability of viable tumour over the slide, with a legend.

    Parameters
    ----------
    path : Path
        The PNG to write; one that exists is replaced.
    layers : Layers
        Slide, tissue and heatmap.
    result : mapping
        What `NecrosisScore.to_dict` gives, for the legend; `warnings` may hold more.
    caption : Caption
        Slide, model, pixel size, version and date.
    settings : ExportSettings
        Longer side and opacity. A picture smaller than its text grows to hold it.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    layout = lay_out(layers.overview, settings.overlay_px)
    canvas = Image.new("RGB", layout.canvas, "white")
    draw = ImageDraw.Draw(canvas)
    pictures = (class_map(layers, layout.frame, settings.overlay_opacity), heat_picture(layers, layout.frame))
    for title, picture, at in zip(PANELS, pictures, layout.panels, strict=True):
        _draw_panel(canvas, layout, picture, at)
        draw.text(
            (at[0], at[1] - layout.unit * STRIP / 2), title, INK, font(layout.unit, "-Bold"), anchor="lm"
        )
    _draw_facts(draw, layout, result, caption)
    _draw_table(canvas, layout, layers, result, settings.overlay_opacity)
    _draw_heat_scale(canvas, layout)
    with atomic_write(path, durable=False) as partial:
        canvas.save(partial, format="PNG", compress_level=PNG_EFFORT)


def write_thumbnail(path: Path, overview: Overview, settings: ExportSettings) -> None:
    """Write the slide alone, with a scale bar below it.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    unit = text_unit(settings.overlay_px)
    strip, margin = round(unit * STRIP), round(unit * MARGIN / 2)
    frame = fit(overview, settings.overlay_px, max(1, settings.overlay_px - strip))
    size = max(frame.width, round(unit * 7)), frame.height + strip
    canvas = Image.new("RGB", size, "white")
    canvas.paste(Image.fromarray(slide_picture(overview, frame)), (0, 0))
    draw_scale_bar(ImageDraw.Draw(canvas), (margin, frame.height + strip // 2), frame, unit)
    with atomic_write(path, durable=False) as partial:
        canvas.save(partial, format="PNG", compress_level=PNG_EFFORT)


def _draw_panel(canvas: Image.Image, layout: Layout, picture: RGB, at: tuple[int, int]) -> None:
    canvas.paste(Image.fromarray(picture), at)
    draw = ImageDraw.Draw(canvas)
    right, bottom = at[0] + layout.frame.width, at[1] + layout.frame.height
    draw.rectangle((at[0] - 1, at[1] - 1, right, bottom), outline=(200, 200, 200))
    draw_scale_bar(draw, (at[0], bottom + round(layout.unit * STRIP / 2)), layout.frame, layout.unit)


def _draw_facts(
    draw: ImageDraw.ImageDraw, layout: Layout, result: Mapping[str, Any], caption: Caption
) -> None:
    x, y = layout.facts
    for text, size, weight, colour in _facts(result, caption):
        letters = font(round(layout.unit * size), weight)
        columns = max(8, int(LEGEND_WIDE * layout.unit / letters.getlength("n")))
        for line in textwrap.wrap(text, columns)[:MOST_LINES]:
            draw.text((x, y), line, colour, letters, anchor="la")
            y += round(layout.unit * size * 1.35)
        y += round(layout.unit * 0.25)


def _facts(result: Mapping[str, Any], caption: Caption) -> Iterator[Entry]:
    """Yield the entries of the legend's first half."""
    yield _shortened(caption.slide, 34), 1.0, "-Bold", INK
    yield from _number(result)
    covers = f". Covers {result['interval']['covers']}." if result["interval"] else ""
    yield f"Interval {interval_text(result)}{covers}", 0.8, "", INK
    if said := out_of_domain_text(result):
        yield said, 0.8, "", INK
    if said := short_warnings(result):
        yield said, 0.8, "-Bold", DOUBT
    yield f"Model {caption.model}; {caption.pixel_size}", 0.8, "", GREY
    yield caption.notice, 0.8, "", GREY
    yield f"wsi-necrosis {caption.version}, {caption.date}", 0.8, "", GREY
    yield RESEARCH_ONLY, 0.8, "-Bold", GREY


def _number(result: Mapping[str, Any]) -> Iterator[Entry]:
    """Yield percent viable, the estimators, the limit at the nearer end; or why the slide is not evaluable."""
    if result["status"] != "scored":
        yield "Not evaluable", 1.7, "-Bold", INK
        yield REASONS[result["reason"]], 1.0, "", INK
        return
    area = f"of {mm2_text(result['tumour_mm2'])} mm² tumour"
    if result["finding"]:
        of_what = "Viable tumour: " if result["finding"] == "no_viable" else ""
        yield f"{of_what}{percent_text(result)}", 1.3, "-Bold", INK
        yield f"By the likeliest class of each cell, {area}", 0.8, "", INK
    else:
        title = percent_text(result) + (" tumour" if result["policy"] == "tumour" else "")
        yield title, 1.7 if result["policy"] == "tumour" else 1.3, "-Bold", INK
        yield _rest(result, area), 1.0, "", INK
    yield f"{result['percent_viable']:.1f} % {estimators_text(result)}", 0.8, "", INK
    if result["ledger"]["mm2"]["outside_region"] > 0:
        yield "Inside the region of interest alone", 0.8, "", INK
    nearer = "blank" if result["percent_viable"] < 50 else "full"
    yield f"Limit of {nearer}: {result[f'limit_of_{nearer}_text']}", 0.8, "", INK


def _rest(result: Mapping[str, Any], area: str) -> str:
    """Percent necrosis, and under `tumour_bed` the rest, with the area that they are of."""
    necrosis, bed = f"{result['percent_necrosis']:.1f} % necrosis", result["bed"]
    if bed is None:
        return f"{necrosis}, {area}"
    whole = sum(bed[f"{name}_mm2"] for name in CLASSES)
    return f"{necrosis}, {bed['percent_non_tumour']:.1f} % other tissue, of {mm2_text(whole)} mm² bed"


def _shortened(text: str, longest: int) -> str:
    """A long text without its middle: names of slides differ at both ends."""
    half = (longest - 1) // 2
    return text if len(text) <= longest else f"{text[:half]}…{text[-half:]}"


def _draw_table(
    canvas: Image.Image, layout: Layout, layers: Layers, result: Mapping[str, Any], opacity: float
) -> None:
    draw, unit, (left, y) = ImageDraw.Draw(canvas), layout.unit, layout.table
    small, text = font(round(unit * 0.8)), font(unit)
    columns = left + round(unit * 18), left + round(unit * 25)
    for x, title in zip(columns, ("mm², by class", "by probability"), strict=True):
        draw.text((x, y), title, GREY, small, anchor="ra")
    rows = list(_table(result))
    size = round(unit * SWATCH_WIDE), unit + 1
    swatches = class_swatches(layers, layout.frame, [label for label, _ in rows], size, opacity)
    for (label, cells), swatch in zip(rows, swatches, strict=True):
        y += round(unit * 1.6)
        canvas.paste(Image.fromarray(swatch), (left, y))
        draw.text((left + unit * 2.6, y), PALETTE[label].title, INK, text, anchor="la")
        for x, cell in zip(columns, cells, strict=True):
            draw.text((x, y), cell, INK, text, anchor="ra")


def _table(result: Mapping[str, Any]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield label, area by largest probability and area by sums of probability; abstained and unreadable if any."""
    areas = result["ledger"]["mm2"]
    for label in (CellLabel.VIABLE, CellLabel.NON_VIABLE, CellLabel.NON_TUMOUR):
        name = CLASSES[label - 1]
        yield label, (mm2_text(areas[f"{name}_by_class"]), mm2_text(areas[f"{name}_soft"]))
    for label, name in ((CellLabel.ABSTAINED, "abstained"), (CellLabel.UNREADABLE, "unreadable")):
        if areas[name] > 0:
            yield label, (mm2_text(areas[name]), "")


def _draw_heat_scale(canvas: Image.Image, layout: Layout) -> None:
    unit, (left, top) = layout.unit, layout.table
    draw, small = ImageDraw.Draw(canvas), font(round(unit * 0.8))
    wide, high, y = round(unit * 20), unit, top + round(unit * HEAT_BELOW)
    draw.text((left, y - unit * 0.4), PANELS[1], INK, font(unit), anchor="ld")
    ramp = heat_colours(np.broadcast_to(np.linspace(0, 1, wide), (high, wide)))
    canvas.paste(Image.fromarray(ramp), (left, y))
    draw.rectangle((left - 1, y - 1, left + wide, y + high), outline=GREY)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + round(share * (wide - 1))
        draw.line((x, y + high, x, y + high + unit // 4), fill=GREY)
        draw.text((x, y + high + unit * 0.4), f"{share:g}", INK, small, anchor="ma")
