"""Tables of labelled tiles, and how any CSV file is read."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.faults import plainly
from wsi_necrosis.errors import DatasetError

REQUIRED = ("file", "case", "label")
GIVE_TILES = "give labelled tiles with --set data.tiles=PATH"
COLUMNS = ("file", "case", "slide", "x", "y", "label", "mpp", "sha256")

Row = Mapping[str, str]
Parser = Callable[[str], float]


def read_table(path: Path) -> tuple[Entry, ...]:
    """Pictures as a table describes them, row by row.

    Parameters
    ----------
    path : Path
        CSV with the columns file (relative to the table), case and label; slide, x, y (level-0 pixels), mpp
        (um) and sha256 if they are known. Labels are taken as written, other values without surrounding blanks.

    Raises
    ------
    DatasetError
        It cannot be read, lacks a column, has no rows, or holds an invalid number.
    """
    rows = read_rows(path, REQUIRED)
    found = numbers(rows, {"x": whole, "y": whole, "mpp": positive}, "file", path)
    return tuple(_entry(row, number, path.parent) for row, number in zip(rows, found, strict=True))


def read_lines(path: Path, way_out: str = GIVE_TILES) -> list[list[str]]:
    """Lines of a CSV file that are not empty.

    Cells may be separated by semicolons or tabs, as spreadsheets of many countries do it: by those where the first
    line has them and no comma.

    Raises
    ------
    DatasetError
        It cannot be read (the message ends with `way_out`), or is no CSV in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            separator = _separator(stream.readline())
            stream.seek(0)
            return [line for line in csv.reader(stream, delimiter=separator) if any(line)]
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); {way_out}") from None
    except (UnicodeDecodeError, csv.Error):
        raise DatasetError(f"{path} is not text in UTF-8; save it as CSV") from None


def _separator(header: str) -> str:
    return "," if "," in header else next((each for each in ";\t" if each in header), ",")


def read_rows(path: Path, required: Sequence[str], way_out: str = GIVE_TILES) -> list[Row]:
    """Rows of a CSV file by the names in its first line; missing values of a short row are empty.

    Raises
    ------
    DatasetError
        It cannot be read, lacks a required column, or has no rows.
    """
    lines = read_lines(path, way_out)
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [column for column in required if column not in header]
    if missing:
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}; it needs {', '.join(required)}")
    if len(lines) == 1:
        raise DatasetError(f"{path} has no rows below its header; give one for each item")
    return [dict.fromkeys(header, "") | dict(zip(header, line, strict=False)) for line in lines[1:]]


def numbers(
    rows: Sequence[Row], parsers: Mapping[str, Parser], name: str, path: Path
) -> list[dict[str, float]]:
    """Numbers of every row by column; columns that are missing or empty are left out.

    Parameters
    ----------
    rows : sequence of mappings
        As `read_rows` gives them.
    parsers : mapping of str to callable
        Parser of each column; it raises ValueError for an invalid number.
    name : str
        The column that names a row in messages.
    path : Path
        The table, for messages.

    Raises
    ------
    DatasetError
        A value is invalid; all of them are listed.
    """
    found: list[dict[str, float]] = []
    faults = []
    for row in rows:
        found.append({})
        for column, parse in parsers.items():
            text = row.get(column, "").strip()
            try:
                found[-1] |= {column: parse(text)} if text else {}
            except ValueError:
                faults.append(f"{row[name].strip()!r} ({column} {text!r})")
    if faults:
        raise DatasetError(
            f"{path} has numbers that cannot be taken: {plainly(faults)}; positions are whole level-0 pixels, "
            "pixel sizes um above 0"
        )
    return found


def whole(text: str) -> int:
    """A whole number, also one that a spreadsheet wrote as 10.0; ValueError for any other text."""
    value = float(text)
    if not value.is_integer():
        raise ValueError(text)
    return int(value)


def positive(text: str) -> float:
    """A finite number above 0, also with a decimal comma; ValueError for any other text."""
    value = float(text.replace(",", ".") if text.count(",") == 1 else text)
    if not 0 < value < math.inf:
        raise ValueError(text)
    return value


def _entry(row: Row, found: Mapping[str, float], folder: Path) -> Entry:
    name = row["file"].strip()
    return Entry(
        name=name,
        path=folder / name,
        label=row["label"],
        case=row["case"].strip(),
        slide=row.get("slide", "").strip(),
        x_l0=int(found.get("x", 0)),
        y_l0=int(found.get("y", 0)),
        mpp=found.get("mpp"),
        sha256=row.get("sha256", "").strip(),
    )
