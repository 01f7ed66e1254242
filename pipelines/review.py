"""`wsi-necrosis review`: percent viable of a case from a few cells that a person labels."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import UsageError
from wsi_necrosis.report.against_outlines import AsDrawn, as_drawn
from wsi_necrosis.report.marks import all_marks, marks_that_count
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.review.labels import all_labels, import_labels, read_given
from wsi_necrosis.review.result import result_of, write_result
from wsi_necrosis.review.rule import labels_for_width
from wsi_necrosis.review.sample import Sample, read_sample, sample_cells
from wsi_necrosis.review.sheet import write_sheet
from wsi_necrosis.review.tiles import write_tiles


def sample(out: Path, cells: int, seed: int | None, case: str | None, name: str, *, rounds: bool) -> str:
    """Draw cells and write the sheet on which they are labelled; says where it is."""
    drawn = sample_cells(out, cells, seed, case=case, name=name, rounds=rounds)
    page = write_sheet(out, drawn)
    different = f", {len(drawn.cells)} different ones" if len(drawn.cells) < drawn.labels else ""
    in_rounds = "; labelled in rounds, which makes the interval wider" if drawn.rounds else ""
    return (
        f"{drawn.labels} cells of {len(drawn.slides)} slides{different}, drawn at random by tissue area "
        f"(seed {drawn.seed}){in_rounds}\n"
        f"label them in a browser:  {page}\n"
        f"or in a table or QuPath:  {page.with_name(f'{name}-cells.csv')}, {page.with_name(f'{name}-qupath')}\n"
        f"then:  wsi-necrosis review import {out} FILE" + ("" if name == "review" else f" --name {name}")
    )


def take_in(
    out: Path,
    files: Sequence[Path],
    reader: str | None,
    name: str,
    to_tiles: Path | None,
    regions: Path | None = None,
) -> tuple[str, dict[str, Any]]:
    """Read labels, keep them, and say percent viable by each reader's labels; the facts are given, too.

    Parameters
    ----------
    out : Path
        Folder of results.
    files : sequence of Path
        Labels; none takes those that were imported before.
    reader : str, optional
        Who labelled, where a file does not say it.
    name : str
        Of the review.
    to_tiles : Path, optional
        Folder to which the cells are written as `train` reads them.
    regions : Path, optional
        Regions that were corrected in QuPath: a folder with a file for each slide, named as it is, or a file where
        there is one slide. They give a second percentage, without an interval.
    """
    drawn = read_sample(out, name)
    who = reader or getpass.getuser()
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    given = [each for path in files for each in read_given(path, who)]
    if not files and regions is None:
        raise UsageError("give the file that the sheet saved, or the corrected regions with --regions")
    paths = {} if regions is None else _files_of(drawn, regions)
    result = result_of(drawn, import_labels(out, drawn, given, now) if given else all_labels(out, drawn))
    lines = list(result.sentences)
    if to_tiles is not None:
        count = write_tiles(to_tiles, drawn, result.by_reader, paths, marks_that_count(all_marks(out)))
        drawn_too = f" and the regions of {sum(map(bool, paths.values()))} slides" if paths else ""
        lines.append(f"{count} cells{drawn_too} for `wsi-necrosis train --tiles {to_tiles}`")
    found = as_drawn([open_results(out / slide.folder) for slide in drawn.slides], paths) if paths else None
    if found is not None:
        lines.append(_drawn_sentence(found))
    facts = write_result(out, drawn, result, None if found is None else found.facts())
    return "\n".join(lines), facts


def _files_of(drawn: Sample, regions: Path) -> dict[str, Path | None]:
    """The file of each slide's regions."""
    names = [slide.slide_id for slide in drawn.slides]
    if regions.is_dir():
        paths = {name: outlines_of(regions, name) for name in names}
    elif len(names) == 1:
        return {names[0]: regions}
    elif not regions.exists():
        raise UsageError(f"{regions} is not there; give a folder of files that are named as their slides")
    else:
        raise UsageError(
            f"{regions} is one file for {len(names)} slides; give a folder of files that are named as their slides"
        )
    if not any(paths.values()):
        raise UsageError(f"{regions} holds no file of these slides; name them as {names[0]}.geojson")
    return paths


def _drawn_sentence(found: AsDrawn) -> str:
    missing = f"; no regions of {', '.join(found.missing)}" if found.missing else ""
    if found.percent_viable is None:
        return f"As drawn: no number, as no tumour is drawn on {len(found.slides)} slides{missing}."
    return (
        f"As drawn: percent viable {found.percent_viable:.1f} % of {found.tumour_mm2:.1f} mm2 of tumour on "
        f"{len(found.slides)} slides{missing}. It has no interval: what was drawn was not drawn at random."
    )


def plan(width: float) -> str:
    """How many labels an interval of this width is likely to take."""
    if not 5 <= width <= 60:
        raise UsageError(f"a width of {width:g} points is out of range; give 5 to 60 percentage points")
    return (
        f"about {labels_for_width(width)} labelled cells give an interval {width:g} points wide, on average over "
        "simulated cases; near 0 and 100 % it takes fewer, and without a good model more"
    )
