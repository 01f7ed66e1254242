"""Positions of the panels and the legend of `overlay.png`, chosen so that the slide is shown as large as possible.

Lengths written as numbers here are in units of the height of the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from wsi_necrosis.export.picture import Frame, fit
from wsi_necrosis.slides.overview import Overview

LEGEND_WIDE, FACTS_HIGH, TABLE_HIGH = 27.0, 33.0, 16.0  # two halves: facts, and table with colour scale
HEAT_BELOW = 12.0  # the colour scale's distance from the table's top
STRIP = 2.2  # title above a panel, scale bar below it
PANEL_WIDE = 16.0  # a panel's title needs this much
MARGIN = 1.2
SMALLEST_UNIT = 13  # pixels; smaller text is not legible

Point = tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """Positions on the canvas, in pixels: sizes and points are (x, y).

    Attributes
    ----------
    unit : int
        Height of the text.
    canvas : tuple of int
        Size of the whole picture.
    frame : Frame
        Size of either panel.
    panels : tuple of points
        Top-left corners of the two panels' pictures.
    facts, table : tuple of int
        Top-left corners of the legend's halves.
    """

    unit: int
    canvas: Point
    frame: Frame
    panels: tuple[Point, Point]
    facts: Point
    table: Point


def text_unit(side_px: int) -> int:
    """Height of the text on a picture whose longer side is `side_px`."""
    return max(SMALLEST_UNIT, round(side_px / 85))


def lay_out(overview: Overview, side_px: int) -> Layout:
    """Best of four arrangements: panels in a row or in a column, legend beside or below them.

    The longer side of the canvas is at most `side_px` where the text fits into that.
    """
    layouts = [_arranged(overview, side_px, *way) for way in product(("row", "column"), ("beside", "below"))]

    def cost(layout: Layout) -> tuple[bool, float, int]:
        return max(layout.canvas) > side_px, layout.frame.um, layout.canvas[0] * layout.canvas[1]

    return min(layouts, key=cost)


def _arranged(overview: Overview, side_px: int, panels: str, legend: str) -> Layout:
    unit = text_unit(side_px)
    margin, strip = round(unit * MARGIN), round(unit * STRIP)
    across, down = (2, 1) if panels == "row" else (1, 2)
    wide, high, table_step = _legend(unit, legend)
    beside, below = (wide + margin, 0) if legend == "beside" else (0, high + margin)
    free_x = (side_px - margin * (across + 1) - beside) / across
    free_y = (side_px - margin * 2 - below) / down - 2 * strip
    least = unit * PANEL_WIDE
    frame = fit(overview, max(least, free_x), max(least, free_y))
    slot_x, slot_y = max(frame.width, round(unit * PANEL_WIDE)) + margin, frame.height + 2 * strip
    first = margin, margin + strip
    second = first[0] + (across - 1) * slot_x, first[1] + (down - 1) * slot_y
    end_x, end_y = margin + across * slot_x, margin + down * slot_y + margin
    facts = (end_x, margin) if beside else (margin, end_y)
    table = facts[0] + table_step[0], facts[1] + table_step[1]
    canvas = max(end_x, facts[0] + wide + margin), max(end_y, facts[1] + high + margin)
    return Layout(unit, canvas, frame, (first, second), facts, table)


def _legend(unit: int, legend: str) -> tuple[int, int, Point]:
    """Width and height of the legend, and the step from its first half to its second."""
    wide, facts, table, margin = (
        round(unit * length) for length in (LEGEND_WIDE, FACTS_HIGH, TABLE_HIGH, 2 * MARGIN)
    )
    if legend == "beside":
        return wide, facts + table, (0, facts)
    return 2 * wide + margin, max(facts, table), (wide + margin, 0)
