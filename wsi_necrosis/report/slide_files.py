"""Write the files of a slide that readers and other programs open: exports, and the report that shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from wsi_necrosis.claims import claimed
from wsi_necrosis.errors import StoreError
from wsi_necrosis.export.export_slide import Material, attempt, export_slide
from wsi_necrosis.names import path_of
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.report.slide_page import write_slide_report
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.scores.file_list import note_files
from wsi_necrosis.scores.slide_folder import FILES, FORMATS, PERF, REPORT, SlideFolder
from wsi_necrosis.scores.tissue_store import read_mask


def write_files(
    folder: Path, material: Material, formats: Iterable[str], slide: Path | None
) -> list[ResultWarning]:
    """Write the files of some formats; what could not be made is added to the warnings of the result.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    material : Material
        What they are made from.
    formats : iterable of str
        Keys of `slide_folder.FORMATS`.
    slide : Path or None
        The slide's file, for the close pictures in the report; None where it is gone.

    Returns
    -------
    list of ResultWarning
        One for each file that could not be made, with code `export_failed`.
    """
    wanted = list(formats)
    failed = export_slide(folder, material, wanted)
    result = dict(material.result)
    result["warnings"] = [*result["warnings"], *map(asdict, failed)]
    if "report" in wanted:
        shown = replace(material, result=result)
        lost = attempt(folder / REPORT, lambda path: write_slide_report(path, shown, slide))
        failed += [lost] if lost else []
    return failed


def make_again(folder: Path, formats: Iterable[str]) -> list[ResultWarning]:
    """Write files of a finished slide anew from its folder; slide and model are not needed.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    formats : iterable of str
        Keys of `slide_folder.FORMATS`.

    Returns
    -------
    list of ResultWarning
        One for each file that could not be made.

    Raises
    ------
    StoreError
        There are no results, or the folder cannot be written.
    ClaimedError
        Another process works on the slide.
    """
    wanted = list(formats)
    report = open_results(folder)
    try:
        date = str(json.loads((folder / PERF).read_text(encoding="utf-8"))["date"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{folder / PERF} cannot be read ({error!r}); run the slide again") from None
    reader = SlideFolder(folder).score_reader()
    material = Material(
        report.result,
        report.tissue,
        read_mask(folder, in_memory=False),
        reader.read(),
        reader,
        report.settings,
        date,
    )
    path = path_of(report.result["path"]) if report.result["path"] else None
    with claimed(folder):
        failed = write_files(folder, material, wanted, path)
        note_files(folder / FILES, [name for each in wanted for name in FORMATS[each]])
    return failed
