"""`wsi-necrosis sensitivity`: percent viable of finished slides at each threshold, from their scores alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.export.summary import rounded
from wsi_necrosis.quantify.sensitivity import NEVER, Trial, sensitivity
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.report.verify import finished_folders

TABLE = "sensitivity.csv"
COLUMNS = ("slide_id", *Trial.__dataclass_fields__)


def sensitivities(out: Path) -> list[dict[str, Any]]:
    """Trials of every finished slide of a folder, or of one slide's folder; also written as `sensitivity.csv`.

    Raises
    ------
    UsageError
        There are no results.
    """
    folders = finished_folders(out)
    if not folders:
        raise UsageError(f"{out} holds no results of slides; give the folder that `run` or `batch` wrote to")
    reports = [open_results(folder) for folder in folders]
    rows = [
        {
            "slide_id": report.result["slide_id"],
            **{name: rounded(value) for name, value in asdict(trial).items()},
        }
        for report in reports
        for trial in sensitivity(report.scores(), report.settings.quantify, report.quantity)
    ]
    if folders != [out]:  # a slide's own folder holds nothing that its list of files does not name
        write_csv(out / TABLE, rows, COLUMNS)
    return rows


def describe(rows: Sequence[dict[str, Any]]) -> str:
    """The trials as text, a line for each setting of each slide; the value in force is in brackets."""
    return "\n".join(_lines(rows))


def _lines(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    slides = dict.fromkeys(row["slide_id"] for row in rows)
    for slide in slides:
        yield f"{slide}: percent viable by setting"
        own = [row for row in rows if row["slide_id"] == slide]
        for setting in dict.fromkeys(row["setting"] for row in own):
            tried = (_tried(row) for row in own if row["setting"] == setting)
            yield f"  {setting:<16} " + "   ".join(tried)


def _tried(row: dict[str, Any]) -> str:
    value = "none" if row["value"] == NEVER else f"{row['value']}"
    name = f"[{value}]" if row["is_set"] else value
    percent = row["percent_viable"]
    return f"{name} {row['reason'] if percent is None else f'{percent:.1f}'}"
