"""Write files of an output folder anew: those of each finished slide, and those of all slides together."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.export.annotation_store import require_tiatoolbox
from wsi_necrosis.export.export_slide import attempt
from wsi_necrosis.export.qupath_script import SCRIPT, write_qupath_script
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.report.case_page import write_case_reports
from wsi_necrosis.report.cohort_page import write_cohort_report
from wsi_necrosis.report.slide_files import make_again
from wsi_necrosis.report.verify import finished_folders
from wsi_necrosis.scores.slide_folder import FORMATS, REPORT, SLIDES


def write_common_files(out: Path, formats: Iterable[str]) -> list[ResultWarning]:
    """Write the reports of cases and of all slides, and the script for QuPath, as far as formats ask for them.

    Returns
    -------
    list of ResultWarning
        One for each file that could not be made.
    """
    wanted = set(formats)
    found = write_case_reports(out) if "report" in wanted else []
    common = [
        attempt(out / REPORT, lambda path: write_cohort_report(path.parent)) if "report" in wanted else None,
        attempt(out / SCRIPT, lambda path: write_qupath_script(path.parent)) if "geojson" in wanted else None,
    ]
    return [*found, *(each for each in common if each is not None)]


def make_all_again(out: Path, formats: Iterable[str]) -> tuple[int, list[str]]:
    """Write files of some formats for each finished slide of an output folder, or of one slide's folder.

    Parameters
    ----------
    out : Path
        The folder.
    formats : iterable of str
        Keys of `slide_folder.FORMATS`.

    Returns
    -------
    (int, list of str)
        Number of slides, and a line for each file that could not be made.

    Raises
    ------
    UsageError
        There are no results, or a format is not known.
    MissingExtraError
        A format needs a package that is not installed.
    """
    wanted = tuple(dict.fromkeys(formats))
    require_formats(wanted)
    folders = finished_folders(out)
    if not folders:
        raise UsageError(f"{out} holds no results of slides; give the folder that `run` or `batch` wrote to")
    lines = [f"{folder}: {fault}" for folder in folders for fault in _faults(folder, wanted)]
    if (out / SLIDES).is_dir():
        lines += [f"{out}: {each.text}" for each in write_common_files(out, wanted)]
    return len(folders), lines


def require_formats(formats: Iterable[str]) -> None:
    """Refuse formats that are not known, or need a package that is not installed.

    Raises
    ------
    UsageError, MissingExtraError
        The first of them.
    """
    wanted = set(formats)
    unknown = sorted(wanted - set(FORMATS))
    if unknown or not wanted:
        raise UsageError(f"--to {', '.join(unknown)}: give one or more of {', '.join(FORMATS)}")
    if "annotation_store" in wanted:
        require_tiatoolbox()


def _faults(folder: Path, formats: tuple[str, ...]) -> list[str]:
    """What could not be made of a slide: one that is damaged must not end the others."""
    try:
        return [each.text for each in make_again(folder, formats)]
    except WsiNecrosisError as error:
        return [str(error)]
