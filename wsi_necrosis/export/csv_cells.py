"""CSV files that a spreadsheet opens as they are meant: marked as UTF-8, and no cell is taken for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_necrosis.files import write_text

BOM = "\ufeff"  # without it Excel reads UTF-8 as the system's old encoding
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet may run what follows these


def safe_cell(value: Any) -> Any:
    """A cell's value; text that a spreadsheet could take for a formula gets a leading apostrophe, numbers do not.

    Examples
    --------
    >>> safe_cell("=1+1"), safe_cell("+ margin"), safe_cell(-0.5), safe_cell("a=b")
    ("'=1+1", "'+ margin", -0.5, 'a=b')
    """
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header; a file that exists is replaced.

    Parameters
    ----------
    path : Path
        The file.
    columns : sequence of str
        Names of the columns, in order; what else a row holds is left out, and what it lacks is empty.
    rows : iterable of mappings
        Values by column.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(columns), lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({name: safe_cell(value) for name, value in row.items()} for row in rows)
    write_text(path, BOM + table.getvalue())
