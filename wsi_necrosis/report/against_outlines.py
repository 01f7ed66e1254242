"""Results of a slide against what a pathologist outlined on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE
from wsi_necrosis.dataset.annotations import (
    LABEL_OF,
    Outline,
    read_outlines,
    refuse_unknown_classes,
)
from wsi_necrosis.dataset.cell_labels import label_cells, territories
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.scores.labels import CellLabel, cell_class
from wsi_necrosis.tiling.grid import TileGrid, cell_edges
from wsi_necrosis.tiling.mask import MaskClass, TissueMask
from wsi_necrosis.tiling.regions import inside

READ_AS = (*CLASSES, "abstained", "unreadable")  # columns of the confusion: what a cell counts as
NO_CLASS = len(CLASSES)  # of a pixel that is in no outline, or is no tissue


@dataclass(frozen=True)
class AgainstOutlines:
    """How far a slide's results agree with outlines.

    Attributes
    ----------
    slide_id : str
        Name of the slide.
    confusion : int array (3, 5)
        Cells by what was outlined (row, `classes.CLASSES`) and what they count as (column, `READ_AS`): those that one
        class covers well enough.
    pixels : int array (3, 5)
        The same of all tissue pixels of the mask that are in an outline.
    px_mm2 : float
        Area of such a pixel.
    """

    slide_id: str
    confusion: NDArray[np.int64]
    pixels: NDArray[np.int64]
    px_mm2: float

    def dice(self) -> dict[str, float | None]:
        """By class, 2 |A and B| / (|A| + |B|) over outlined tissue; None where neither has any of it."""
        return dice_of(self.pixels)

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "slide_id": self.slide_id,
            "confusion": self.confusion.tolist(),
            "outlined_mm2": float(self.pixels.sum() * self.px_mm2),
            "dice": self.dice(),
            **dict(
                zip(("percent_viable_outlined", "percent_viable_read"), percents_of(self.pixels), strict=True)
            ),
        }


@dataclass(frozen=True)
class AsDrawn:
    """Percent viable of a case by outlines alone; it has no interval.

    Attributes
    ----------
    percent_viable : float or None
        Of the tumour outlined; None where there is none.
    tumour_mm2 : float
        Viable and non-viable tumour outlined.
    slides, missing : tuple of str
        Slides with outlines, and those without.
    """

    percent_viable: float | None
    tumour_mm2: float
    slides: tuple[str, ...]
    missing: tuple[str, ...]

    def facts(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def dice_of(pixels: NDArray[np.int64]) -> dict[str, float | None]:
    """Dice of each class from outlined (row) and read (column) pixels.

    Examples
    --------
    >>> dice_of(np.array([[4, 0, 0, 0, 0], [0, 3, 1, 0, 0], [0, 0, 0, 0, 0]]))
    {'non_tumour': 1.0, 'non_viable': 0.8571428571428571, 'viable': 0.0}
    """
    both = pixels.sum(axis=1) + pixels.sum(axis=0)[: len(CLASSES)]
    return {
        name: float(2 * pixels[at, at] / both[at]) if both[at] else None for at, name in enumerate(CLASSES)
    }


def percents_of(pixels: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """Percent viable of the same tissue as outlined and as read; None without tumour."""
    outlined, read = pixels.sum(axis=1), pixels.sum(axis=0)
    first, second = (_percent(each[VIABLE], each[NON_VIABLE]) for each in (outlined, read))
    return first, second


def against_outlines(report: SlideReport, path: Path, min_cover: float = 0.75) -> AgainstOutlines:
    """Compare a slide's results with outlines, on the tissue that is outlined with a class.

    Parameters
    ----------
    report : SlideReport
        Of a finished slide.
    path : Path
        GeoJSON from QuPath.
    min_cover : float
        Least share of a cell that outlines of one class cover for the cell to count in the confusion.

    Raises
    ------
    UsageError
        The outlines cannot be read, or have unknown classes.
    """
    outlines, scores, mask = known_outlines(path), report.scores(), report.tissue().mask
    label = cell_class(scores, report.settings.quantify)
    plane = scores.grid.plane
    found = label_cells(outlines, (int(plane.x_l0), int(plane.y_l0)), scores.grid, min_cover)
    confusion = np.zeros((len(CLASSES), len(READ_AS)), np.int64)
    for (row, col), name in found.labels.items():
        if name in CLASSES and label[row, col] != CellLabel.NONE:
            confusion[CLASSES.index(name), label[row, col] - 1] += 1
    pixels = read_as(outlined_classes(outlines, mask), label, scores.grid, mask)
    return AgainstOutlines(str(report.result["slide_id"]), confusion, pixels, mask.px_mm2)


def read_as(
    drawn: NDArray[np.uint8], label: NDArray[np.uint8], grid: TileGrid, mask: TissueMask
) -> NDArray[np.int64]:
    """Pixels (3, 5) by what was outlined (row, `classes.CLASSES`) and what they count as (column, `READ_AS`).

    Parameters
    ----------
    drawn : uint8 array (h, w)
        Of `outlined_classes`.
    label : uint8 array (rows, cols)
        `CellLabel` of each cell.
    grid, mask : TileGrid, TissueMask
        Where cells and pixels lie.
    """
    rows, cols = (np.repeat(np.arange(len(edges) - 1), np.diff(edges)) for edges in cell_edges(grid, mask))
    read = label[rows[:, None], cols[None]]
    judged = (drawn < NO_CLASS) & (read != CellLabel.NONE)
    pixels = np.zeros((len(CLASSES), len(READ_AS)), np.int64)
    np.add.at(pixels, (drawn[judged], read[judged] - 1), 1)
    return pixels


def as_drawn(reports: Sequence[SlideReport], paths: Mapping[str, Path | None]) -> AsDrawn:
    """Percent viable of the tissue that is outlined, over all slides of a case.

    Parameters
    ----------
    reports : sequence of SlideReport
        Slides of the case, for their tissue masks.
    paths : mapping of str to Path or None
        By `slide_id`, its GeoJSON, or None.

    Raises
    ------
    UsageError
        Outlines cannot be read, or have unknown classes.
    """
    mm2 = np.zeros(len(CLASSES))
    named = {str(report.result["slide_id"]): report for report in reports}
    with_outlines = {name: path for name in named if (path := paths.get(name)) is not None}
    for name, path in with_outlines.items():
        mask = named[name].tissue().mask
        counts = np.bincount(outlined_classes(known_outlines(path), mask).ravel(), minlength=NO_CLASS + 1)
        mm2 += counts[:NO_CLASS] * mask.px_mm2
    return AsDrawn(
        percent_viable=_percent(mm2[VIABLE], mm2[NON_VIABLE]),
        tumour_mm2=float(mm2[VIABLE] + mm2[NON_VIABLE]),
        slides=tuple(with_outlines),
        missing=tuple(name for name in named if name not in with_outlines),
    )


def outlined_classes(outlines: Sequence[Outline], mask: TissueMask) -> NDArray[np.uint8]:
    """Class of each pixel of a mask (h, w) by outlines; `NO_CLASS` where there is none, or no tissue.

    An outline inside another takes its area from it, `Ignore*` takes from all, and where outlines of two classes cross
    neither has the common area.
    """
    kept = [each for each in outlines if not each.is_ignored]
    settled, _ = territories([each.polygon for each in kept], [LABEL_OF[each.name] for each in kept])
    found = np.full(mask.kind.shape, NO_CLASS, np.uint8)
    for at, name in enumerate(CLASSES):
        if name in settled:
            found[inside(settled[name], mask)] = at
    for each in outlines:
        if each.is_ignored:
            found[inside(each.polygon, mask)] = NO_CLASS
    found[mask.kind != MaskClass.TISSUE] = NO_CLASS
    return found


def known_outlines(path: Path) -> tuple[Outline, ...]:
    """The outlines of a file.

    Raises
    ------
    UsageError
        They cannot be read, or have unknown classes.
    """
    try:
        found = read_outlines(path)
        refuse_unknown_classes({path: found})
    except DatasetError as error:
        raise UsageError(str(error)) from None
    return found


def _percent(viable: float, non_viable: float) -> float | None:
    tumour = float(viable + non_viable)
    return 100 * float(viable) / tumour if tumour else None
