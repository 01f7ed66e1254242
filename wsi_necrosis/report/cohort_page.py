"""`report.html` of an output folder: percent viable of all slides, and maps of slabs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from wsi_necrosis.export.cases import read_cases
from wsi_necrosis.export.overlay import RESEARCH_ONLY
from wsi_necrosis.export.summary import rows_by_folder
from wsi_necrosis.quantify.sentences import REASONS, SOURCES
from wsi_necrosis.report.case_page import CASES, page_name
from wsi_necrosis.report.marks import MARK_LABELS, all_marks, marks_that_count
from wsi_necrosis.report.pages import write_page
from wsi_necrosis.report.scale import whole_interval
from wsi_necrosis.report.slab_map import slab_maps
from wsi_necrosis.report.slide_line import CUT_OFF, slide_line
from wsi_necrosis.report.slide_page import heat_stops
from wsi_necrosis.scores.slide_folder import REPORT, SLIDES


@dataclass(frozen=True)
class CaseLine:
    """A number of a case: whose it is, the address of its page or None, value, interval, grades, and what it lacks."""

    case: str
    link: str | None
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
    lines = [slide_line(out, name, row) for name, row in rows.items()]
    lines.sort(key=lambda line: (line.percent is None, line.percent or 0, line.name))
    write_page(
        out / REPORT,
        "cohort.html",
        lines=lines,
        cases=[
            _case_line(out, each["case"], number) for each in read_cases(out) for number in each["numbers"]
        ],
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


def _case_line(out: Path, case: str, number: Mapping[str, Any]) -> CaseLine:
    scored, interval = number["status"] == "scored", whole_interval(number)
    percent = number["percent_viable"] if scored else None
    grades = (
        f"{name}: {grade['grade'] or (grade['reason'] or 'none').replace('_', ' ')}"
        for name, grade in number["grades"].items()
    )
    reason = str(number["reason"])
    page = Path(CASES, page_name(case))
    return CaseLine(
        case=case,
        link=quote(page.as_posix()) if (out / page).is_file() else None,
        source=SOURCES[number["source"]],
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
