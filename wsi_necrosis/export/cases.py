"""`cases.csv` and `cases.json`: percent viable and grades of cases."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import StoreError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.export.summary import ENDS, ESTIMATORS, KINDS, rounded
from wsi_necrosis.files import write_json
from wsi_necrosis.quantify.definition import definition_text

CASES_CSV, CASES_JSON = "cases.csv", "cases.json"
TERMS = ("outside_region", "not_scanned", "unreadable", "background", "abstained")


def write_cases(out: Path, cases: Sequence[Mapping[str, Any]], schemes: Sequence[str]) -> None:
    """Write both files; ones that exist are replaced.

    Parameters
    ----------
    out : Path
        Folder of results; made if it is not there.
    cases : sequence of mapping
        Each with `case`, `slides`, and `numbers`, the content of `CaseNumber` with its `grades`.
    schemes : sequence of str
        Names of the grade schemes, for their columns.

    Raises
    ------
    StoreError
        They cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = [dict(_row(case["case"], number, schemes)) for case in cases for number in case["numbers"]]
    write_json(out / CASES_JSON, {"cases": list(cases)})
    write_csv(out / CASES_CSV, rows, list(rows[0]))


def read_cases(out: Path) -> list[Mapping[str, Any]]:
    """The cases that `write_cases` wrote to a folder; none where it was not called.

    Raises
    ------
    StoreError
        The file is damaged.
    """
    path = out / CASES_JSON
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return [each for each in cases if (each["case"], each["numbers"])]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error!r}); call `wsi-necrosis case` again") from None


def _row(case: str, number: Mapping[str, Any], schemes: Sequence[str]) -> Iterator[tuple[str, Any]]:
    yield "case", case
    for name in ("source", "status", "reason"):
        yield name, number[name]
    yield "complete", "no" if number["incomplete"] else "yes"
    yield "slides", len(number["counted"])
    yield "incomplete", _listed(number["incomplete"])
    yield "left_out", _listed(number["left_out"])
    for name in ("policy", "estimator", "percent_viable", "percent_necrosis", "percent_non_tumour"):
        yield name, rounded(number[name])
    yield "finding", number["finding"]
    yield from _interval(number["interval"] or {}).items()
    yield "interval_reason", number["interval_reason"]
    yield "percent_viable_unweighted", rounded(number["percent_viable_unweighted"])
    for estimator in ESTIMATORS:
        yield f"percent_viable_{estimator}", rounded(number["percent_viable_by"].get(estimator))
    yield "tumour_mm2", rounded(number["tumour_mm2"])
    for name in (*(f"{each}_{how}" for how in ESTIMATORS for each in reversed(CLASSES)), *TERMS):
        yield f"{name}_mm2", rounded(number["mm2"].get(name))
    yield "largest_focus_mm", rounded(number["largest_focus_mm"])
    for limit in ("limit_of_blank", "limit_of_full"):
        yield limit, rounded((number[limit] or {}).get("limit"))
    for scheme in schemes:
        grade = number["grades"][scheme]
        yield f"grade_{scheme}", grade["grade"] or grade["reason"]
        yield f"good_{scheme}", {True: "yes", False: "no", None: None}[grade["good"]]
    yield "definition", definition_text(number["definition"])


def _interval(found: Mapping[str, Any]) -> dict[str, Any]:
    covered = "ci" if found.get("covers_classifier") else "sampling"
    ends = {
        f"{kind}_{end}": rounded(found.get(end)) if kind == covered else None
        for kind in KINDS
        for end in ENDS
    }
    return ends | {"interval_target": found.get("target")}


def _listed(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{name} ({reason})" for name, reason in reasons.items())
