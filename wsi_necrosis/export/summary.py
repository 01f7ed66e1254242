"""`summary.csv`: a row per slide, rebuilt from the results each time and never appended to."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.manifest import KEPT
from wsi_necrosis.files import write_text
from wsi_necrosis.provenance import RESULT_VERSION
from wsi_necrosis.scores.slide_folder import RESULT, SLIDES

log = logging.getLogger(__name__)


def write_summary(out: Path) -> None:
    """Rebuild `out/summary.csv` from every `result.json` below `out/slides`, sorted by slide."""
    rows = sorted((_row(result) for result in _results(out)), key=lambda row: str(row["slide_id"]))
    if not rows:
        return
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(out / "summary.csv", table.getvalue())


def _results(out: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted((out / SLIDES).rglob(RESULT)):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            if result["schema_version"] != RESULT_VERSION:
                raise ValueError(f"its schema version is {result['schema_version']}, not {RESULT_VERSION}")
            found.append(result)
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s is left out of summary.csv: %r; run its slide again", path, error)
    return found


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    provenance = result["provenance"]
    slide, interval = provenance["slide"], result["interval"] or {}
    abstained, decision = result["percent_viable_if_abstained"] or {}, result["decision"] or {}
    return {
        "slide_id": result["slide_id"],
        "path": result["path"],
        **{name: result.get("manifest", {}).get(name) for name in KEPT},
        "fingerprint": provenance["inputs"]["slide"]["fingerprint"],
        "status": result["status"],
        "reason": result["reason"],
        "mpp_x": slide["mpp_x"],
        "mpp_y": slide["mpp_y"],
        "mpp_source": slide["mpp_source"],
        "n_tiles": result["n_tiles"],
        **{f"{term}_mm2": round(area, 6) for term, area in result["ledger"]["mm2"].items()},
        "ood_mm2": round(result["ood_mm2"], 6),
        "percent_viable": result["percent_viable"],
        "estimator": result["estimator"],
        "percent_viable_soft": result["percent_viable_soft"],
        "percent_viable_hard": result["percent_viable_hard"],
        "finding": result["finding"],
        "limit_of_blank": (result["limit_of_blank"] or {}).get("limit"),
        "limit_of_full": (result["limit_of_full"] or {}).get("limit"),
        **{f"if_abstained_{name}": abstained.get(name) for name in ("all_non_viable", "all_viable")},
        **{name: decision.get(name) for name in ("top_prob", "entropy")},
        "ci_low": interval.get("low"),
        "ci_high": interval.get("high"),
        "percent_necrosis": result["percent_necrosis"],
        "warnings": ";".join(each["code"] for each in result["warnings"]),
        "model": provenance["model"]["name"],
        "version": provenance["versions"]["wsi-necrosis"],
    }
