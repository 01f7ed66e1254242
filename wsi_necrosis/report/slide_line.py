"""A line for each slide, as the pages of a folder and of a case list them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wsi_necrosis.quantify.sentences import REASONS, SHORT, mm2_text
from wsi_necrosis.scores.slide_folder import REPORT, SLIDES

CUT_OFF = 10.0  # percent viable: a good response has less (EURAMOS-1), as 90 % necrosis is Huvos grade III


@dataclass(frozen=True)
class Line:
    """A slide in the list: name, link to its report or None, what a manifest says, and its numbers."""

    name: str
    link: str | None
    place: str
    percent: float | None
    low: float | None
    high: float | None
    said: str
    tumour: str
    warnings: str


def slide_line(out: Path, name: str, row: Mapping[str, Any], up: str = "") -> Line:
    """The line of a finished slide.

    Parameters
    ----------
    out : Path
        Folder of results.
    name : str
        The slide's folder below its `slides`.
    row : mapping
        Of `summary.csv`.
    up : str
        Leads from the page's folder to `out`.
    """
    report = Path(SLIDES, name, REPORT)
    place = ", ".join(f"{key} {row[key]}" for key in ("case", "block") if row[key])
    scored = row["status"] == "scored"
    codes = [code for code in row["warnings"].split(";") if code and code != "model_notice"]
    said = f"{row['percent_viable']:.1f}" if scored else REASONS.get(row["reason"], str(row["reason"]))
    return Line(
        name=str(row["slide_id"]),
        link=up + quote(report.as_posix()) if (out / report).is_file() else None,
        place=place,
        percent=row["percent_viable"] if scored else None,
        low=row["ci_low"],
        high=row["ci_high"],
        said="none found" if row["finding"] == "no_viable" else said,
        tumour=mm2_text(row["tumour_mm2"]),
        warnings="; ".join(SHORT.get(code, code) for code in codes),
    )
