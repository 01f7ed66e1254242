"""`summary.csv`: a row per slide, rebuilt from the results each time and never appended to."""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.claims import claimed
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.manifest import KEPT
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import remove, write_json
from wsi_necrosis.provenance import RESULT_VERSION, VERSION
from wsi_necrosis.quantify.definition import definition_text
from wsi_necrosis.scores.slide_folder import RESULT, SLIDES

SUMMARY = "summary.csv"
DIGITS = 6  # significant ones of a number
KINDS, ENDS = ("ci", "sampling"), ("low", "high")  # an interval of sampling alone has columns of its own
ESTIMATORS = ("soft", "by_class")  # suffixes of what is found by either
KNOWN_ROWS = ".summary.json"  # rows of results that were read before, with the size and time of their files
log = logging.getLogger(__name__)

Rows = dict[str, dict[str, Any]]


def write_summary(out: Path) -> None:
    """Rebuild `out/summary.csv` from every `result.json` below `out/slides`, sorted by slide.

    One process at a time does so, and others wait: the last one to come sees the results of all. Only results that are
    new or changed are read; of the others the rows are kept in `out/.summary.json`.
    """
    if not (out / SLIDES).is_dir():
        return
    with claimed(out / SUMMARY, wait=True):
        for name in (SUMMARY, KNOWN_ROWS):
            for leftover in out.glob(f".{name}.[0-9]*.partial"):  # of a process that was killed
                remove(leftover)
        before = _known_rows(out)
        known = _up_to_date(out, before)
        if known != before:
            write_json(out / KNOWN_ROWS, {"version": _version(), "crc32": _crc32(known), "rows": known})
        rows = sorted_rows(known)
        if rows:
            write_csv(out / SUMMARY, rows, list(rows[0]))
        else:
            remove(out / SUMMARY)


def summary_rows(out: Path) -> list[dict[str, Any]]:
    """The rows that `summary.csv` should have, with every result read anew."""
    return sorted_rows(_up_to_date(out, {}))


def rows_by_folder(out: Path) -> dict[str, dict[str, Any]]:
    """The same rows by the slide's folder below `out/slides`; those that `write_summary` kept are not read anew."""
    return {name: each["row"] for name, each in sorted(_up_to_date(out, _known_rows(out)).items())}


def sorted_rows(known: Rows) -> list[dict[str, Any]]:
    """Rows in the order of the table."""
    rows: list[dict[str, Any]] = [each["row"] for each in known.values()]
    return sorted(rows, key=lambda row: str(row["slide_id"]))


def slide_folders(out: Path, with_file: str = RESULT) -> Iterator[Path]:
    """Folders of finished slides below `out/slides`, in order; folders of work in progress are left out."""
    for place, below, names in os.walk(out / SLIDES):
        if with_file in names:
            below.clear()
            yield Path(place)
        below[:] = sorted(name for name in below if not (name.startswith(".") and ".work" in name))


def _known_rows(out: Path) -> Rows:
    try:
        found = json.loads((out / KNOWN_ROWS).read_text(encoding="utf-8"))
        rows = dict(found["rows"])
        return rows if (found["version"], found["crc32"]) == (_version(), _crc32(rows)) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _crc32(rows: Rows) -> int:
    return zlib.crc32(json.dumps(rows).encode())


def _version() -> str:
    return f"{VERSION} {RESULT_VERSION}"


def _up_to_date(out: Path, known: Mapping[str, dict[str, Any]]) -> Rows:
    """Rows by the slide's path below `out/slides`; those of unchanged files are taken from `known`."""
    found: Rows = {}
    for folder in slide_folders(out):
        name, path = folder.relative_to(out / SLIDES).as_posix(), folder / RESULT
        try:
            status = path.stat()
            stamp = [status.st_size, status.st_mtime_ns]
            kept = known.get(name, {})
            row = kept["row"] if kept.get("stamp") == stamp else _row(_result(path))
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out of %s: %r; run its slide again", path, SUMMARY, error)
            continue
        found[name] = {"stamp": stamp, "row": row}
    return found


def _result(path: Path) -> dict[str, Any]:
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["schema_version"] != RESULT_VERSION:
        raise ValueError(f"its schema version is {result['schema_version']}, not {RESULT_VERSION}")
    return dict(result)


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the table; numbers have six significant digits, and all of them stand in `result.json`."""
    provenance, mm2 = result["provenance"], result["ledger"]["mm2"]
    slide, interval = provenance["slide"], result["interval"] or {}
    covered = "ci" if interval.get("covers_classifier") else "sampling"
    abstained, decision = result["percent_viable_if_abstained"] or {}, result["decision"] or {}
    row = {
        "slide_id": result["slide_id"],
        "path": result["path"],
        **{name: result.get("manifest", {}).get(name) for name in KEPT},
        "status": result["status"],
        "reason": result["reason"],
        "percent_viable": result["percent_viable"],
        "percent_viable_soft": result["percent_viable_soft"],
        "percent_viable_by_class": result["percent_viable_by_class"],
        "estimator": result["estimator"],
        "policy": result["policy"],
        "percent_necrosis": result["percent_necrosis"],
        "percent_non_tumour": (result["bed"] or {}).get("percent_non_tumour"),
        **{f"{kind}_{end}": interval.get(end) if kind == covered else None for kind in KINDS for end in ENDS},
        "finding": result["finding"],
        "limit_of_blank": (result["limit_of_blank"] or {}).get("limit"),
        "limit_of_full": (result["limit_of_full"] or {}).get("limit"),
        **{
            name: result[name] for name in ("percent_viable_without_small_foci", "n_foci", "largest_focus_mm")
        },
        **{f"if_abstained_{name}": abstained.get(name) for name in ("all_non_viable", "all_viable")},
        **{name: decision.get(name) for name in ("top_prob", "entropy")},
        "warnings": ";".join(each["code"] for each in result["warnings"]),
        "tumour_mm2": result["tumour_mm2"],
        **dict(_class_areas(result)),
        **{f"{term}_mm2": area for term, area in mm2.items() if not term.endswith(ESTIMATORS)},
        "ood_mm2": result["ood_mm2"],
        "defocus_mm2": result["defocus_mm2"],
        "n_tiles": result["n_tiles"],
        "mpp_x": slide["mpp_x"],
        "mpp_y": slide["mpp_y"],
        "mpp_source": slide["mpp_source"],
        "fingerprint": provenance["inputs"]["slide"]["fingerprint"],
        "model": provenance["model"]["name"],
        "model_sha256": provenance["model"]["sha256"],
        "version": provenance["versions"]["wsi-necrosis"],
        "definition": definition_text(result["definition"]),
    }
    return {name: rounded(value) for name, value in row.items()}


def _class_areas(result: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Area of each class by the leading estimator, by probability and by class."""
    for name in reversed(CLASSES):
        yield f"{name}_mm2", result[f"{name}_mm2"]
        for estimator in ESTIMATORS:
            yield f"{name}_mm2_{estimator}", result["ledger"]["mm2"][f"{name}_{estimator}"]


def rounded(value: Any) -> Any:
    """A number with the digits of the tables; anything else as it is."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value
