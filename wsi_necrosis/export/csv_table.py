"""CSV tables that spreadsheet programs open as they are."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_necrosis.files import write_text
from wsi_necrosis.names import printable

ENCODING = "utf-8-sig"  # with the mark by which spreadsheet programs recognise UTF-8
FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")  # full-width ones, too


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """A table as text; text that a spreadsheet program would run as a formula begins with an apostrophe.

    Parameters
    ----------
    rows : sequence of mapping
        Values by column; None is an empty cell.
    columns : sequence of str
        The header, in its order.

    Examples
    --------
    >>> csv_text([{"slide": "=1+1.svs", "percent": -2.5}], ["slide", "percent"]).splitlines()
    ['slide,percent', "'=1+1.svs,-2.5"]
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    return table.getvalue()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a table; one that exists is replaced.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    write_text(path, csv_text(rows, columns), ENCODING)


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if value.lstrip(" ").startswith(FORMULA_STARTS) else text
