"""Check finished slides against what was written: files, scores, ledger and percentage, and the slides themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi_necrosis.errors import WsiNecrosisError
from wsi_necrosis.export.csv_table import ENCODING, csv_text
from wsi_necrosis.export.summary import SUMMARY, slide_folders, summary_rows
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.names import path_of
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.scores.file_list import changed_files
from wsi_necrosis.scores.slide_folder import FILES, SLIDES, SlideFolder
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import open_slide

if TYPE_CHECKING:
    from wsi_necrosis.scores.block_scores import Scores

MOST_ROUNDING = 1e-9  # relative; areas are whole pixels times the area of one


def verify_slide(folder: Path, *, full: bool = False) -> Iterator[str]:
    """What is wrong with a finished slide, a line each; nothing where all is as it was written.

    Every file is compared with its SHA-256, every block with the checksums of its record. The areas of the ledger must
    add up, and percent viable, ledger and number of tiles are computed again from the scores.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    full : bool
        Also compare the slide with its fingerprint; one that was anonymised is not, as its result names no file.
    """
    changed = changed_files(folder / FILES, thorough=True)
    yield from [f"{FILES} is missing or damaged"] if changed is None else changed
    try:
        report = open_results(folder)
        yield from _faults_of_scores(report)
        if full and report.result["path"]:
            yield from _faults_of_slide(report.result)
    except WsiNecrosisError as error:
        yield str(error)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        yield f"its result is damaged ({error!r})"


def verify_summary(out: Path) -> Iterator[str]:
    """What is wrong with the table of an output folder; nothing where it has the rows of all results."""
    rows = summary_rows(out)
    try:
        found = (out / SUMMARY).read_text(encoding=ENCODING)
    except (OSError, ValueError) as error:
        if rows or not isinstance(error, FileNotFoundError):
            yield f"{SUMMARY} cannot be read ({error})"
        return
    if found != csv_text(rows, list(rows[0]) if rows else []):
        yield f"{SUMMARY} differs from the results; the next run writes it anew"


def finished_folders(out: Path) -> list[Path]:
    """Folders of the finished slides of an output folder; the folder itself where it is that of a slide.

    One whose result is lost is among them, too, if its list of files is there.
    """
    if (out / SLIDES).is_dir():
        return sorted({*slide_folders(out), *slide_folders(out, FILES)})
    return [out] if SlideFolder(out).has_scores else []


def _faults_of_scores(report: SlideReport) -> Iterator[str]:
    from wsi_necrosis.scores.block_scores import CellState  # with zarr, which takes half a second to import

    reader = SlideFolder(report.folder).score_reader()
    scores = reader.read()
    scored = scores.state == CellState.SCORED
    for block in reader.grid.blocks():
        if scored[block.cells].any() and not reader.is_done(block):
            yield f"block {block.name} differs from its record"
    n_tiles = report.result["n_tiles"]
    if n_tiles != int(scored.sum()):
        yield f"n_tiles is {n_tiles}, the store has {int(scored.sum())}"
    yield from _faults_of_ledger(report.result["ledger"])
    yield from _faults_of_measuring(report, scores)


def _faults_of_ledger(ledger: Mapping[str, Any]) -> Iterator[str]:
    total = sum(ledger["px"].values())
    if total != ledger["total_px"]:
        yield f"the terms of the ledger add up to {total} pixels, not {ledger['total_px']}"
    for name, px in ledger["px"].items():
        area = px * ledger["pixel_mm2"]
        if not math.isclose(area, ledger["mm2"][name], rel_tol=MOST_ROUNDING, abs_tol=MOST_ROUNDING):
            yield f"the ledger's {name} is {ledger['mm2'][name]} mm2, not {area}"


def _faults_of_measuring(report: SlideReport, scores: Scores) -> Iterator[str]:
    again = measure(scores, report.settings.quantify, report.quantity).to_dict()
    for name in ("ledger", "status", "percent_viable", "interval"):
        if not _alike(again[name], report.result[name]):
            yield f"{name} is {report.result[name]}; measured again it is {again[name]}"


def _alike(one: Any, other: Any) -> bool:
    """Whether two facts are equal up to rounding, which may differ between processors."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=MOST_ROUNDING, abs_tol=MOST_ROUNDING)
    return bool(one == other)


def _faults_of_slide(result: Mapping[str, Any]) -> Iterator[str]:
    facts, path = result["provenance"]["slide"], path_of(result["path"])
    with open_slide(path, Mpp(facts["mpp_x"], facts["mpp_y"]), scene=facts["scene"]) as slide:
        found = slide_fingerprint(slide.info.files)
    written = result["provenance"]["inputs"]["slide"]["fingerprint"]
    if found != written:
        yield f"{path} has changed: its fingerprint is {found}, not {written}"
