"""The result of a run as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from wsi_necrosis.report.slide_report import SlideReport


def as_json(report: SlideReport) -> str:
    """The content of `result.json`."""
    return json.dumps(report.result, indent=2)


def describe(report: SlideReport) -> str:
    """The result of a slide in a few lines."""
    result = report.result
    facts = [*_headline(result), *_areas(result), ("results", str(report.folder))]
    lines = [result["slide_id"], *(f"  {name:<17} {value}" for name, value in facts)]
    return "\n".join([*lines, *(f"  note: {warning}" for warning in result["warnings"])])


def _headline(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    if result["status"] != "scored":
        return [("percent viable", f"not evaluable: {result['reason'].replace('_', ' ')}")]
    hard, interval = result["percent_viable_hard"], result["interval"]
    by_class = "no tumour" if hard is None else f"{hard:.1f} %"
    spread = (result["interval_reason"] or "").removeprefix("interval: ")
    if interval:
        spread = (
            f"{interval['low']:.1f} to {interval['high']:.1f} % ({100 * interval['confidence']:.0f} %, "
            f"{interval['target']})"
        )
    return [
        ("percent viable", f"{result['percent_viable']:.1f} % of tumour (by class: {by_class})"),
        ("percent necrosis", f"{result['percent_necrosis']:.1f} %"),
        ("interval", spread),
    ]


def _areas(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    mm2 = result["ledger"]["mm2"]
    viable, non_viable = mm2["soft_viable"], mm2["soft_non_viable"]
    return [
        ("tumour", f"{viable + non_viable:.2f} mm2: viable {viable:.2f}, non-viable {non_viable:.2f}"),
        ("non-tumour", f"{mm2['soft_non_tumour']:.2f} mm2"),
        (
            "abstained",
            f"{mm2['abstained']:.2f} mm2, of which {result['ood_mm2']:.2f} unlike the training tiles",
        ),
        ("not measured", f"unreadable {mm2['unreadable']:.2f} mm2, background {mm2['background']:.2f} mm2"),
        ("tiles", f"{result['n_tiles']}"),
    ]
