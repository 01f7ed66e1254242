"""`wsi-necrosis evaluate OUT --truth`: finished slides against what a pathologist outlined on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import UsageError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import require_writable, write_json
from wsi_necrosis.report.against_outlines import (
    READ_AS,
    AgainstOutlines,
    against_outlines,
    dice_of,
    percents_of,
)
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.report.verify import finished_folders


def compare_with_outlines(results: Path, truth: Path, out: Path) -> str:
    """Compare results with annotations, write `truth.json` and `truth.csv` to `out`, and return a summary.

    Parameters
    ----------
    results : Path
        Folder that `run` or `batch` wrote to, or that of one slide.
    truth : Path
        GeoJSON of a slide, or a folder with a file for each slide, named as it is.
    out : Path
        Folder of the figures.

    Raises
    ------
    UsageError
        There are no results, no annotations of them, or annotations cannot be read.
    """
    reports = [open_results(folder) for folder in finished_folders(results)]
    if not reports:
        raise UsageError(
            f"{results} holds no results of slides; give the folder that `run` or `batch` wrote to"
        )
    files = _files_of(reports, truth)
    found = [against_outlines(report, path) for report, path in files]
    missing = sorted({str(each.result["slide_id"]) for each in reports} - {each.slide_id for each in found})
    require_writable(out)
    out.mkdir(parents=True, exist_ok=True)
    confusion = np.sum([each.confusion for each in found], axis=0)
    pixels = np.sum([each.pixels for each in found], axis=0)
    write_json(
        out / "truth.json",
        {
            "columns": list(READ_AS),
            "rows": list(CLASSES),
            "confusion": confusion.tolist(),
            "dice": dice_of(pixels),
            "slides": [each.facts() for each in found],
            "without_annotations": missing,
        },
    )
    write_csv(out / "truth.csv", [_row(each) for each in found], list(_row(found[0])))
    outlined, read = percents_of(pixels)
    lines = [
        f"{len(found)} slides against annotations"
        + (f"; without any: {', '.join(missing)}" if missing else ""),
        *_table(confusion.tolist()),
        "Dice over outlined tissue: "
        + ", ".join(
            f"{name} {'-' if value is None else f'{value:.3f}'}" for name, value in dice_of(pixels).items()
        ),
        f"percent viable of outlined tissue: {_percent(outlined)} outlined, {_percent(read)} read (by class)",
        f"figures: {out}",
    ]
    return "\n".join(lines)


def _files_of(reports: Sequence[SlideReport], truth: Path) -> list[tuple[SlideReport, Path]]:
    if truth.is_dir():
        found = [(report, outlines_of(truth, str(report.result["slide_id"]))) for report in reports]
        kept = [(report, path) for report, path in found if path is not None]
        if not kept:
            raise UsageError(
                f"{truth} holds no annotations of these slides; name each file as its slide, such as "
                f"{reports[0].result['slide_id']}.geojson"
            )
        return kept
    if not truth.exists():
        raise UsageError(f"{truth} is not there; give a folder of files that are named as their slides")
    if len(reports) > 1:
        raise UsageError(
            f"{truth} is one file for {len(reports)} slides; give the folder of its slide, or a folder of files that "
            "are named as their slides"
        )
    return [(reports[0], truth)]


def _row(found: AgainstOutlines) -> dict[str, Any]:
    facts = found.facts()
    return {
        "slide_id": found.slide_id,
        "cells": int(found.confusion.sum()),
        "cells_right": int(np.trace(found.confusion)),
        "outlined_mm2": facts["outlined_mm2"],
        **{f"dice_{name}": value for name, value in facts["dice"].items()},
        "percent_viable_outlined": facts["percent_viable_outlined"],
        "percent_viable_read": facts["percent_viable_read"],
    }


def _table(confusion: list[list[int]]) -> Iterator[str]:
    """Outlined over read, in cells."""
    yield "cells".ljust(14) + "".join(name.rjust(13) for name in READ_AS)
    for name, row in zip(CLASSES, confusion, strict=True):
        yield name.ljust(14) + "".join(str(count).rjust(13) for count in row)


def _percent(value: float | None) -> str:
    return "none (no tumour)" if value is None else f"{value:.1f} %"
