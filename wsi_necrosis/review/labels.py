"""Labels that people gave to the cells of a review: read, kept with every earlier version, and turned into a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, UNSURE, VIABLE
from wsi_necrosis.dataset.annotations import LABEL_OF, read_objects
from wsi_necrosis.dataset.tables import read_rows
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.review.rule import FIXED_ALPHA, ROUNDS_ALPHA, Corrected, correct
from wsi_necrosis.review.sample import PLACE, Sample, sample_path

WITHDRAWN = ""  # in place of a label: the one before was taken back
KEYS: Mapping[str, str] = MappingProxyType(
    {"v": CLASSES[VIABLE], "n": CLASSES[NON_VIABLE], "o": CLASSES[NON_TUMOUR], "?": UNSURE}
)
COLUMNS = ("cell", "label", "reader", "labelled", "imported")
CELL_NAME = re.compile(r"cell (\d+)")
WAY_OUT = "give the file that the sheet saved, its CSV filled in, or GeoJSON from QuPath"


@dataclass(frozen=True)
class Given:
    """A label that somebody gave: the number of the cell, one of `CLASSES` or `unsure`, who, and when (ISO 8601).

    `place` is where the cell lies by the file that it was read from, where that says so.
    """

    cell: int
    label: str
    reader: str
    labelled: str = ""
    imported: str = ""
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class Reading:
    """Percent viable by one reader's labels.

    Attributes
    ----------
    reader : str
        Who labelled.
    unsure : int
        Labels "?", each as often as its cell was drawn.
    if_viable, if_non_viable : Corrected or None
        With every "?" as viable, and as non-viable tumour; equal where there is none. None without a tumour label.
    """

    reader: str
    unsure: int
    if_viable: Corrected | None
    if_non_viable: Corrected | None


def read_given(path: Path, reader: str) -> list[Given]:
    """Labels of a file: CSV with the columns cell and label (and reader, labelled), or GeoJSON of cells from QuPath.

    Labels are v, n, o and ?, or the names of classes. Cells without a label are left out. Where columns x_l0 and y_l0
    are there, as in the sheet's own files, they tell whether the cells are those of the review.

    Raises
    ------
    UsageError
        It cannot be read, holds a label or a cell that is none, or two labels for one cell.
    """
    found: list[tuple[str, str, str, str, tuple[int, int] | None]]
    try:
        if path.suffix.lower() in {".geojson", ".json", ".gz"}:
            found = [(name, label, reader, "", None) for name, label in read_objects(path)]
        else:
            rows = read_rows(path, ("cell", "label"), WAY_OUT)
            found = [
                (
                    row["cell"],
                    row["label"],
                    row.get("reader", "") or reader,
                    row.get("labelled", ""),
                    _place(row),
                )
                for row in rows
            ]
    except DatasetError as error:
        raise UsageError(str(error)) from None
    given = [
        Given(_number(cell, path), _label(label, cell, path), who.strip(), when.strip(), place=place)
        for cell, label, who, when, place in found
        if label.strip()
    ]
    _refuse_contradiction(given, path)
    if not given:
        raise UsageError(f"{path} holds no label; {WAY_OUT}")
    return given


def import_labels(out: Path, sample: Sample, given: Sequence[Given], now: str) -> list[Given]:
    """Add labels to `reviews/<name>.csv`, which keeps all that were ever given, and return all of them.

    Raises
    ------
    UsageError
        A label is of a cell that was not drawn, or that lies elsewhere.
    """
    drawn = {cell.number for cell in sample.cells}
    strange = sorted({each.cell for each in given} - drawn)
    if strange:
        raise UsageError(
            f"cells {', '.join(map(str, strange[:5]))} are not of the review {sample.name!r}; import labels of its own "
            "sheet"
        )
    places = {cell.number: cell.place for cell in sample.cells}
    moved = [each.cell for each in given if each.place not in {None, places[each.cell]}]
    if moved:
        raise UsageError(
            f"these labels are of another review than {sample.name!r}: cell {moved[0]} lies elsewhere; name theirs "
            "with --name"
        )
    known = all_labels(out, sample)
    latest = {(each.cell, each.reader): each for each in known}
    fresh = [
        Given(each.cell, each.label, each.reader, each.labelled, now)
        for each in given
        if (each.cell, each.reader) not in latest or latest[each.cell, each.reader].label != each.label
    ]
    everything = [*known, *fresh]
    rows = [{name: getattr(each, name) for name in COLUMNS} for each in everything]
    write_csv(labels_path(out, sample.name), rows, COLUMNS)
    return everything


def all_labels(out: Path, sample: Sample) -> list[Given]:
    """Every label that was imported, in order; empty where none was."""
    path = labels_path(out, sample.name)
    if not path.is_file():
        return []
    return [
        Given(int(row["cell"]), row["label"], row["reader"], row["labelled"], row["imported"])
        for row in read_rows(path, COLUMNS, WAY_OUT)
    ]


def labels_path(out: Path, name: str) -> Path:
    """File of a review's labels."""
    return sample_path(out, name).with_suffix(".csv")


def latest_by_reader(given: Iterable[Given]) -> dict[str, dict[int, str]]:
    """The last label of each cell, by reader; without those that were taken back."""
    found: dict[str, dict[int, str]] = {}
    for each in given:
        labels = found.setdefault(each.reader, {})
        labels.pop(each.cell, None)
        if each.label != WITHDRAWN:
            labels[each.cell] = each.label
    return found


def missing(sample: Sample, labels: Mapping[int, str]) -> list[int]:
    """Numbers of cells without a label."""
    return [cell.number for cell in sample.cells if cell.number not in labels]


def reading_of(sample: Sample, reader: str, labels: Mapping[int, str]) -> Reading:
    """Percent viable by a reader's labels of all cells.

    Raises
    ------
    UsageError
        A cell has no label: leaving out what is hard to tell would bend the number.
    """
    unlabelled = missing(sample, labels)
    if unlabelled:
        raise UsageError(
            f"{len(unlabelled)} of {len(sample.cells)} cells have no label by {reader} (the first is {unlabelled[0]}); "
            "label them, with ? where it cannot be told"
        )
    unsure = sum(cell.times for cell in sample.cells if labels[cell.number] == UNSURE)
    one, other = (_corrected(sample, labels, as_) for as_ in (CLASSES[VIABLE], CLASSES[NON_VIABLE]))
    return Reading(reader, unsure, one, other)


def agreement(one: Mapping[int, str], other: Mapping[int, str]) -> tuple[float, float, int]:
    """Share of cells that two readers labelled alike, Cohen's kappa (NaN where it is not defined), and their number."""
    from wsi_necrosis.metrics.readers import kappa  # imports scikit-learn, which takes a second

    both = sorted(one.keys() & other.keys())
    pairs = [(one[cell], other[cell]) for cell in both]
    if not pairs:
        return float("nan"), float("nan"), 0
    same = sum(a == b for a, b in pairs) / len(pairs)
    return same, kappa([a for a, _ in pairs], [b for _, b in pairs]), len(pairs)


def _corrected(sample: Sample, labels: Mapping[int, str], unsure_as: str) -> Corrected | None:
    counts = {name: [0] * len(CLASSES) for name in ("drawn", CLASSES[VIABLE], CLASSES[NON_VIABLE])}
    for cell in sample.cells:
        label = labels[cell.number] if labels[cell.number] != UNSURE else unsure_as
        counts["drawn"][cell.predicted] += cell.times
        if label in counts:
            counts[label][cell.predicted] += cell.times
    alpha = ROUNDS_ALPHA if sample.rounds else FIXED_ALPHA
    return correct(
        sample.shares, counts["drawn"], counts[CLASSES[VIABLE]], counts[CLASSES[NON_VIABLE]], alpha
    )


def _place(row: Mapping[str, str]) -> tuple[int, int] | None:
    """Where a row says that its cell lies; None where it does not."""
    try:
        x, y = (round(float(row[name])) for name in PLACE)
    except (KeyError, ValueError, OverflowError):
        return None
    return x, y


def _refuse_contradiction(given: Sequence[Given], path: Path) -> None:
    found: dict[tuple[int, str, str], str] = {}
    for each in given:
        if found.setdefault((each.cell, each.reader, each.labelled), each.label) != each.label:
            raise UsageError(f"{path} gives cell {each.cell} two labels by {each.reader}; keep one of them")


def _number(text: str, path: Path) -> int:
    match = re.fullmatch(r"(?:cell )?(\d+)(?:\.0)?", text.strip())
    if match is None:
        raise UsageError(f"{path} names the cell {text[:40]!r}; cells are numbered as on the sheet")
    return int(match[1])


def _label(text: str, cell: str, path: Path) -> str:
    label = text.strip()
    found = KEYS.get(label.lower()) or (label if label in (*CLASSES, UNSURE) else LABEL_OF.get(label))
    if found is None or found not in (*CLASSES, UNSURE):
        raise UsageError(
            f"{path} labels cell {cell[:40]} {label[:40]!r}; labels are v (viable), n (non-viable tumour), o (no "
            "tumour) and ? (cannot be told)"
        )
    return found
