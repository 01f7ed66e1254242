"""`wsi-necrosis review`: percent viable of a case from a few cells that a person labels."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from math import isnan
from pathlib import Path
from typing import Any

from wsi_necrosis.dataset.regions import outlines_of
from wsi_necrosis.errors import UsageError
from wsi_necrosis.files import write_json
from wsi_necrosis.report.against_outlines import AsDrawn, as_drawn
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.review.labels import (
    Reading,
    agreement,
    all_labels,
    import_labels,
    latest_by_reader,
    missing,
    read_given,
    reading_of,
)
from wsi_necrosis.review.rule import Corrected, labels_for_width
from wsi_necrosis.review.sample import Sample, read_sample, sample_cells, sample_path
from wsi_necrosis.review.sheet import write_sheet
from wsi_necrosis.review.tiles import write_tiles


def sample(out: Path, cells: int, seed: int, case: str | None, name: str, *, rounds: bool) -> str:
    """Draw cells and write the sheet on which they are labelled; says where it is."""
    drawn = sample_cells(out, cells, seed, case=case, name=name, rounds=rounds)
    page = write_sheet(out, drawn)
    different = f", {len(drawn.cells)} different ones" if len(drawn.cells) < drawn.labels else ""
    return (
        f"{drawn.labels} cells of {len(drawn.slides)} slides{different}, drawn at random by tissue area "
        f"(seed {drawn.seed})\n"
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
    by_reader = latest_by_reader(import_labels(out, drawn, given, now) if given else all_labels(out, drawn))
    readings, lines = [], []
    for each, labels in by_reader.items():
        unlabelled = missing(drawn, labels)
        if unlabelled:
            lines.append(
                f"{each}: {len(unlabelled)} of {len(drawn.cells)} cells have no label yet (the first is "
                f"{unlabelled[0]}); no number before all have one, with ? where it cannot be told"
            )
            continue
        readings.append(reading_of(drawn, each, labels))
        lines += _sentences(drawn, readings[-1], len(by_reader) > 1)
    for one, other in combinations(by_reader, 2):
        same, kappa, count = agreement(by_reader[one], by_reader[other])
        if count:
            known = "" if isnan(kappa) else f", kappa {kappa:.2f}"
            lines.append(f"{one} and {other} labelled {count} cells, {100 * same:.0f} % of them alike{known}")
    paths = {} if regions is None else _files_of(drawn, regions)
    if to_tiles is not None:
        count = write_tiles(to_tiles, drawn, by_reader, paths)
        drawn_too = f" and the regions of {sum(map(bool, paths.values()))} slides" if paths else ""
        lines.append(f"{count} cells{drawn_too} for `wsi-necrosis train --tiles {to_tiles}`")
    facts: dict[str, Any] = {
        "review": drawn.name,
        "case": drawn.case,
        "readings": [asdict(each) for each in readings],
    }
    if paths:
        found = as_drawn([open_results(out / slide.folder) for slide in drawn.slides], paths)
        facts["as_drawn"] = found.facts()
        lines.append(_drawn_sentence(found))
    write_json(sample_path(out, name).with_name(f"{name}-result.json"), facts)
    return "\n".join(lines), facts


def _files_of(drawn: Sample, regions: Path) -> dict[str, Path | None]:
    """The file of each slide's regions."""
    names = [slide.slide_id for slide in drawn.slides]
    if regions.is_dir():
        paths = {name: outlines_of(regions, name) for name in names}
    elif len(names) == 1:
        return {names[0]: regions}
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


def _sentences(drawn: Sample, reading: Reading, several: bool) -> list[str]:  # noqa: FBT001
    who = f"{reading.reader}: " if several else ""
    if reading.unsure == 0:
        return [who + _sentence(drawn, reading.if_viable)]
    return [
        f"{who}{reading.unsure} labels are ?; were they viable: {_sentence(drawn, reading.if_viable)}",
        f"{who}were they non-viable tumour: {_sentence(drawn, reading.if_non_viable)}",
    ]


def _sentence(drawn: Sample, found: Corrected | None) -> str:
    if found is None:
        return f"No number: none of {drawn.labels} labelled cells is tumour."
    rounds = " in rounds" if drawn.rounds else ""
    low, high = (f"{100 * end:.0f}" for end in (found.low, found.high))
    return (
        f"Percent viable {100 * found.share:.0f} % (95 % interval {low} to {high} %), from {found.labels} cells "
        f"drawn at random by tissue area and labelled{rounds} by a person; {found.tumour_labels} were tumour, worth "
        f"{found.effective:.0f} with the model's help. It covers the chance of the draw, not readers' disagreement or "
        "tissue that was not scanned."
    )
