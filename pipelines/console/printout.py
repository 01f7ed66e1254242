"""The result of a run as text or JSON, and durations in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wsi_necrosis.quantify.sentences import (
    class_areas,
    estimators_text,
    interval_text,
    percent_text,
    warning_lines,
)
from wsi_necrosis.report.slide_report import SlideReport


def as_json(report: SlideReport) -> str:
    """The content of `result.json`."""
    return json.dumps(report.result, indent=2)


def describe(report: SlideReport) -> str:
    """The result of a slide in a few lines."""
    result = report.result
    facts = [*_headline(result), *_areas(result), ("results", str(report.folder))]
    lines = [result["slide_id"], *(f"  {name:<17} {value}" for name, value in facts)]
    return "\n".join([*lines, *(f"  {line}" for line in warning_lines(result))])


def duration(seconds: float) -> str:
    """A duration in its largest unit: `80 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _headline(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    if result["status"] != "scored":
        return [("percent viable", percent_text(result))]
    # 100 or 0 % of necrosis would be more than can be known where one kind of tumour was not found
    necrosis = [] if result["finding"] else [("percent necrosis", f"{result['percent_necrosis']:.1f} %")]
    return [
        ("percent viable", _percent(result)),
        *necrosis,
        *_second(result),
        ("interval", interval_text(result)),
        ("limit of blank", result["limit_of_blank_text"]),
        ("limit of full", result["limit_of_full_text"]),
    ]


def _percent(result: Mapping[str, Any]) -> str:
    """The number by either estimator; where one kind of tumour was not found, that first."""
    percent, how, bed = result["percent_viable"], estimators_text(result), result["bed"]
    of = (
        " of tumour" if bed is None else f" of the tumour bed, other tissue {bed['percent_non_tumour']:.1f} %"
    )
    if result["finding"]:
        return f"{percent_text(result)}; reads {percent:.1f} %{of if bed else ''} ({how})"
    return f"{percent:.1f} %{of} ({how})"


def _second(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Percent viable without small foci, where it is asked for."""
    second = result["percent_viable_without_small_foci"]
    return [] if second is None else [("large foci alone", f"{second:.1f} %")]


def _areas(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    mm2, area = result["ledger"]["mm2"], class_areas(result)
    return [
        (
            "tumour",
            f"{result['tumour_mm2']:.2f} mm2: viable {area['viable']:.2f}, non-viable {area['non_viable']:.2f}",
        ),
        ("viable foci", f"{result['n_foci']}, the largest {result['largest_focus_mm']:.2f} mm"),
        ("non-tumour", f"{area['non_tumour']:.2f} mm2"),
        ("abstained", _abstained(result)),
        ("not measured", _not_measured(mm2)),
        ("tiles", f"{result['n_tiles']}"),
        *result["definition"].items(),
    ]


def _not_measured(mm2: Mapping[str, float]) -> str:
    said = f"unreadable {mm2['unreadable']:.2f} mm2, background {mm2['background']:.2f} mm2"
    if mm2["not_scanned"]:
        said += f", not scanned {mm2['not_scanned']:.2f} mm2"
    outside = mm2["outside_region"]
    return f"{said}, outside the region of interest {outside:.2f} mm2" if outside else said


def _abstained(result: Mapping[str, Any]) -> str:
    """Area that abstained, and what it would change."""
    area, bounds = result["ledger"]["mm2"]["abstained"], result["percent_viable_if_abstained"]
    said = f"{area:.2f} mm2, of which {result['ood_mm2']:.2f} unlike the training tiles"
    if result["defocus_mm2"]:
        said += f" and {result['defocus_mm2']:.2f} out of focus"
    if not area or bounds is None:
        return said
    low, high = bounds["all_non_viable"], bounds["all_viable"]
    return f"{said}; percent viable {low:.1f} if it were non-viable, {high:.1f} if viable"
