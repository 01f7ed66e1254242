"""`wsi-necrosis review`: percent viable of a case from a few cells that a person labels."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Sequence
from pathlib import Path

from wsi_necrosis.errors import UsageError
from wsi_necrosis.review.labels import Reading, import_labels, read_given
from wsi_necrosis.review.marks import all_marks, marks_that_count
from wsi_necrosis.review.result import result_of, write_result
from wsi_necrosis.review.rule import labels_for_width
from wsi_necrosis.review.sample import read_sample, sample_cells
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
    out: Path, files: Sequence[Path], reader: str | None, name: str, to_tiles: Path | None
) -> tuple[str, list[Reading]]:
    """Read labels, keep them, and say percent viable by each reader's labels; the readings are given, too."""
    drawn = read_sample(out, name)
    who = reader or getpass.getuser()
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    given = [each for path in files for each in read_given(path, who)]
    result = result_of(drawn, import_labels(out, drawn, given, now))
    write_result(out, drawn, result)
    lines = list(result.sentences)
    if to_tiles is not None:
        count = write_tiles(to_tiles, drawn, result.by_reader, marks_that_count(all_marks(out)))
        lines.append(f"{count} cells for `wsi-necrosis train --set data.tiles={to_tiles}`")
    return "\n".join(lines), list(result.readings)


def plan(width: float) -> str:
    """How many labels an interval of this width is likely to take."""
    if not 5 <= width <= 60:
        raise UsageError(f"a width of {width:g} points is out of range; give 5 to 60 percentage points")
    return (
        f"about {labels_for_width(width)} labelled cells give an interval {width:g} points wide, on average over "
        "simulated cases; near 0 and 100 % it takes fewer, with a model that is wrong more"
    )
