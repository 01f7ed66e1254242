"""Free marks: cells that somebody labelled because they wanted to, not because they were drawn.

They have no sampling probability, so they never enter a corrected percentage. They serve training and the report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from wsi_necrosis.classes import CLASSES, NON_VIABLE, UNSURE, VIABLE
from wsi_necrosis.dataset.tables import read_rows
from wsi_necrosis.errors import DatasetError, StoreError
from wsi_necrosis.export.csv_table import write_csv

MARKS = "marks.csv"  # in the folder of a command's results
MARK_LABELS = (CLASSES[VIABLE], CLASSES[NON_VIABLE], UNSURE)
REMOVED = ""  # label of a mark that was taken back


@dataclass(frozen=True)
class Mark:
    """A mark.

    Attributes
    ----------
    folder : str
        The slide's folder, below that of the results.
    row, col : int
        Of the cell.
    left_l0, top_l0, width_l0, height_l0 : float
        Its box in level-0 pixels.
    origin_x_l0, origin_y_l0 : int
        Left and top of the slide's bounds, where QuPath's coordinates begin.
    label : str
        One of `MARK_LABELS`, or `REMOVED`.
    reader, marked : str
        Who, and when (ISO 8601).
    """

    folder: str
    row: int
    col: int
    left_l0: float
    top_l0: float
    width_l0: float
    height_l0: float
    origin_x_l0: int
    origin_y_l0: int
    label: str
    reader: str
    marked: str

    @property
    def box_l0(self) -> tuple[float, float, float, float]:
        """Left, top, width and height in level-0 pixels."""
        return self.left_l0, self.top_l0, self.width_l0, self.height_l0

    @property
    def origin_l0(self) -> tuple[int, int]:
        """Left and top of the slide's bounds."""
        return self.origin_x_l0, self.origin_y_l0


COLUMNS = tuple(field.name for field in fields(Mark))


def all_marks(out: Path) -> list[Mark]:
    """Every mark that was ever made in an output folder, in order; empty where none was.

    Raises
    ------
    StoreError
        The table is damaged.
    """
    path = out / MARKS
    if not path.is_file():
        return []
    try:
        return [_mark(row) for row in read_rows(path, COLUMNS, "move it away to begin anew")]
    except (DatasetError, ValueError) as error:
        raise StoreError(f"{path} is damaged ({error}); mend it, or move it away to begin anew") from None


def marks_that_count(marks: Sequence[Mark]) -> list[Mark]:
    """The last mark of each cell by each reader, without those that were taken back."""
    latest = {(each.folder, each.row, each.col, each.reader): each for each in marks}
    return [each for each in latest.values() if each.label != REMOVED]


def add_mark(out: Path, mark: Mark) -> list[Mark]:
    """Add a mark to `marks.csv`, which keeps all, and return those that count; errors as `all_marks`."""
    everything = [*all_marks(out), mark]
    write_csv(out / MARKS, [asdict(each) for each in everything], COLUMNS)
    return marks_that_count(everything)


def _mark(row: Mapping[str, str]) -> Mark:
    row_, col, x, y = (int(row[name]) for name in ("row", "col", "origin_x_l0", "origin_y_l0"))
    left, top, width, height = (float(row[name]) for name in ("left_l0", "top_l0", "width_l0", "height_l0"))
    named = row["label"], row["reader"], row["marked"]
    return Mark(row["folder"], row_, col, left, top, width, height, x, y, *named)
