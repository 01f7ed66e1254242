"""Tables of labelled tiles, and how any CSV file is read."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.faults import plainly, refuse
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.outside import TABLE_MIB, OutsideError, brief, read_text

REQUIRED = ("file", "case", "label")
GIVE_TILES = "give labelled tiles with --tiles PATH"
STATED_SEPARATOR = re.compile(r"sep=(.)")
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
    return tuple(_entry(row, number, path) for row, number in zip(rows, found, strict=True))


def read_lines(path: Path, way_out: str = GIVE_TILES) -> list[list[str]]:
    """Lines of a CSV file that are not empty.

    Cells may be separated by semicolons or tabs, as spreadsheets of many countries do it: by those where the first
    line has them and no comma. A first line `sep=;`, which some spreadsheets write, says it.

    Raises
    ------
    DatasetError
        It cannot be read (the message ends with `way_out`), or is no CSV in UTF-8.
    """
    try:
        text = read_text(path, TABLE_MIB)
    except OutsideError as error:
        raise DatasetError(f"{path} {error}; {way_out}, or save it as CSV in UTF-8") from None
    first, _, rest = text.partition("\n")
    stated = STATED_SEPARATOR.fullmatch(first.strip())
    separator = stated[1] if stated else _separator(first)
    try:
        rows = list(csv.reader(io.StringIO(rest if stated else text, newline=""), delimiter=separator))
    except csv.Error as error:
        raise DatasetError(f"{path} is no CSV ({error}); save it as CSV") from None
    return [row for row in rows if any(cell.strip() for cell in row)]


def _separator(header: str) -> str:
    return "," if "," in header else next((each for each in ";\t|" if each in header), ",")


def read_rows(path: Path, required: Sequence[str], way_out: str = GIVE_TILES) -> list[Row]:
    """Rows of a CSV file by the names in its first line; missing values of a short row are empty.

    Raises
    ------
    DatasetError
        It cannot be read, lacks a required column, or has no rows.
    """
    lines = read_lines(path, way_out)
    if not lines:
        raise DatasetError(f"{path} is empty; {way_out}")
    header = [_column(name, required) for name in lines[0]]
    missing = [column for column in required if column not in header]
    if missing:
        raise DatasetError(
            f"{path} lacks the columns {', '.join(missing)}; it needs {', '.join(required)}, separated by commas, "
            f"semicolons or tabs, and its first line is {brief(','.join(lines[0]))}"
        )
    named = [name for name in header if name]
    twice = {name for name in named if named.count(name) > 1}
    refuse(twice, f"{path} has more than one column", "keep one of each")
    if len(lines) == 1:
        raise DatasetError(f"{path} has no rows below its header; give one for each item")
    longer = [str(number) for number, line in enumerate(lines[1:], 2) if any(line[len(header) :])]
    if longer:
        raise DatasetError(
            f"{path} has more cells than columns in the rows {plainly(longer)}; put a value that holds the "
            "separator in quotes"
        )
    return [dict.fromkeys(header, "") | dict(zip(header, line, strict=False)) for line in lines[1:]]


def _column(written: str, required: Sequence[str]) -> str:
    """The name of a column: that of a required one where only capitals or blanks differ, else in small letters."""
    name = written.strip()
    return next((known for known in required if known.lower() == name.lower()), name.lower())


def path_in(table: Path, written: str) -> Path:
    r"""A path as a table writes it, relative to its folder; `a\b.svs` of Windows is `a/b.svs` where that is a file."""
    path = table.parent / written.strip()
    if "\\" in written and not path.exists():
        return table.parent / written.strip().replace("\\", "/")
    return path


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
                faults.append(f"{brief(row[name].strip())} ({column} {brief(text)})")
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


def _entry(row: Row, found: Mapping[str, float], table: Path) -> Entry:
    name = row["file"].strip()
    return Entry(
        name=name,
        path=path_in(table, name),
        label=row["label"],
        case=row["case"].strip(),
        slide=row.get("slide", "").strip(),
        x_l0=int(found.get("x", 0)),
        y_l0=int(found.get("y", 0)),
        mpp=found.get("mpp"),
        sha256=row.get("sha256", "").strip(),
    )
