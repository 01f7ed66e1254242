"""`report.html` of an output folder: percent viable of all slides, and maps of slabs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wsi_necrosis.errors import StoreError
from wsi_necrosis.export.cases import CASES_JSON
from wsi_necrosis.export.overlay import RESEARCH_ONLY
from wsi_necrosis.export.summary import rows_by_folder
from wsi_necrosis.quantify.sentences import REASONS, SHORT, mm2_text
from wsi_necrosis.report.marks import MARK_LABELS, all_marks, marks_that_count
from wsi_necrosis.report.pages import write_page
from wsi_necrosis.report.scale import whole_interval
from wsi_necrosis.report.slab_map import slab_maps
from wsi_necrosis.report.slide_page import heat_stops
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


@dataclass(frozen=True)
class CaseLine:
    """A number of a case: whose it is, its value and interval, grades, and what it lacks."""

    case: str
    source: str
    percent: float | None
    low: float | None
    high: float | None
    said: str
    grades: str
    slides: int
    lacks: str


@dataclass(frozen=True)
class Marked:
    """Free marks of a slide: its name, their numbers by `marks.MARK_LABELS`, and who made them."""

    name: str
    counts: tuple[int, ...]
    readers: str


def write_cohort_report(out: Path) -> None:
    """Write the report of all finished slides of an output folder; a file that exists is replaced.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    rows = rows_by_folder(out)
    lines = [_line(out, name, row) for name, row in rows.items()]
    lines.sort(key=lambda line: (line.percent is None, line.percent or 0, line.name))
    write_page(
        out / REPORT,
        "cohort.html",
        lines=lines,
        cases=_cases(out / CASES_JSON),
        counts=Counter(row["status"] for row in rows.values()),
        policies=sorted({row["policy"] for row in rows.values()}),
        models=sorted({f"{row['model']} ({row['model_sha256'][:8]})" for row in rows.values()}),
        versions=sorted({row["version"] for row in rows.values()}),
        maps=slab_maps(rows.values()),
        marks=_marked(out, rows),
        cut_off=CUT_OFF,
        heat=heat_stops(),
        research_only=RESEARCH_ONLY,
    )


def _cases(path: Path) -> list[CaseLine]:
    """The numbers that the command `case` found; none where it was not called."""
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return [_case_line(case["case"], number) for case in cases for number in case["numbers"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error!r}); call `wsi-necrosis case` again") from None


def _case_line(case: str, number: Mapping[str, Any]) -> CaseLine:
    scored, interval = number["status"] == "scored", whole_interval(number)
    percent = number["percent_viable"] if scored else None
    grades = (
        f"{name}: {grade['grade'] or (grade['reason'] or 'none').replace('_', ' ')}"
        for name, grade in number["grades"].items()
    )
    reason = str(number["reason"])
    return CaseLine(
        case=case,
        source=str(number["source"]).replace("_", " "),
        percent=percent,
        low=interval.get("low"),
        high=interval.get("high"),
        said=REASONS.get(reason, reason.replace("_", " ")) if percent is None else f"{percent:.1f}",
        grades="; ".join(grades),
        slides=len(number["counted"]),
        lacks="; ".join(f"{name} ({why})" for name, why in number["incomplete"].items()),
    )


def _marked(out: Path, rows: Mapping[str, Mapping[str, Any]]) -> list[Marked]:
    """Free marks of each slide that has any, in the order of the slides' folders."""
    found = []
    marks = marks_that_count(all_marks(out))
    for name, row in rows.items():
        own = [mark for mark in marks if mark.folder == f"{SLIDES}/{name}"]
        counts = Counter(mark.label for mark in own)
        readers = ", ".join(sorted({mark.reader for mark in own}))
        if own:
            found.append(Marked(str(row["slide_id"]), tuple(counts[label] for label in MARK_LABELS), readers))
    return found


def _line(out: Path, name: str, row: Mapping[str, Any]) -> Line:
    report = Path(SLIDES, name, REPORT)
    place = ", ".join(f"{key} {row[key]}" for key in ("case", "block") if row[key])
    scored = row["status"] == "scored"
    codes = [code for code in row["warnings"].split(";") if code and code != "model_notice"]
    said = f"{row['percent_viable']:.1f}" if scored else REASONS.get(row["reason"], str(row["reason"]))
    return Line(
        name=str(row["slide_id"]),
        link=quote(report.as_posix()) if (out / report).is_file() else None,
        place=place,
        percent=row["percent_viable"] if scored else None,
        low=row["ci_low"],
        high=row["ci_high"],
        said="none found" if row["finding"] == "no_viable" else said,
        tumour=mm2_text(row["tumour_mm2"]),
        warnings="; ".join(SHORT.get(code, code) for code in codes),
    )
