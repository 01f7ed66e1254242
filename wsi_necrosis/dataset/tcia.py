"""The download of TCIA's Osteosarcoma-Tumor-Assessment as it comes.

Pictures lie in folders such as `Training-Set-1/set1`, each with a `PathologistValidation.csv` that has no
header; `ML_Features_1144.csv` names all pictures and their labels as well. Tables write a name with blanks,
files with hyphens.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.dataset.entries import SUFFIXES, Entry, pictures_below
from wsi_necrosis.dataset.faults import plainly, refuse
from wsi_necrosis.dataset.tables import read_lines, read_rows
from wsi_necrosis.errors import DatasetError

# Tables are found by the middle of their names: `Validation (1).csv` too.
VALIDATION = "PathologistValidation.csv"
FEATURES = "ML_Features_1144.csv"
VALIDATION_PATTERN = re.compile(r"validation", re.IGNORECASE)
FEATURES_PATTERN = re.compile(r"ml.?features", re.IGNORECASE)
NAME, LABEL = "image.name", "classification"

NAME_PATTERN = re.compile(r"((?:Case-\d+(?:-P\d+)?|P\d+))-([A-Z]+\d+)-(\d+)-(\d+)", re.ASCII)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TileName:
    """The parts of a tile's name.

    Attributes
    ----------
    case : str
        `Case-3`, `Case-48-P5`, `P9`.
    slide : str
        The case and the slide's code: `Case-3-A10`.
    x, y : int
        Position in level-0 pixels of the frame that the slides of a case share.
    """

    case: str
    slide: str
    x: int
    y: int

    def __str__(self) -> str:
        return f"{self.slide}-{self.x}-{self.y}"


def read_tcia(folder: Path) -> tuple[Entry, ...]:
    """Pictures as the tables of the download describe them, sorted by path.

    Rows about pictures that are not there are ignored, as are rows whose name is not a tile's; the log counts both.

    Raises
    ------
    DatasetError
        A table cannot be read; a picture's name is not a tile's or occurs twice; a picture has no label, or
        several different ones.
    """
    pictures = {path: tile_name(path.name) for path in pictures_below(folder)}
    nameless = (path.name for path, name in pictures.items() if name is None)
    refuse(nameless, f"{folder} holds pictures whose names give no case:", "move them elsewhere")
    names = {path: name for path, name in pictures.items() if name is not None}
    times = Counter(names.values())
    twice = {str(name) for name, count in times.items() if count > 1}
    refuse(twice, f"{folder} holds more than one picture of", "keep one each")
    labels = _labels(folder, names)
    return tuple(
        Entry(path.name, path, labels[path], name.case, name.slide, name.x, name.y)
        for path, name in names.items()
    )


def tables_below(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """CSV files anywhere below a folder whose names fit a pattern, sorted, without hidden ones."""
    found = (
        path for path in folder.rglob("*") if path.suffix.lower() == ".csv" and pattern.search(path.stem)
    )
    return sorted(path for path in found if not path.name.startswith("."))


def tile_name(name: str) -> TileName | None:
    """The parts of a tile's name in either spelling, with or without the file extension; None for other names.

    Examples
    --------
    >>> tile_name("Case 48 - P5 C13-24121-14200") == tile_name("Case-48-P5-C13-24121-14200.jpg")
    True
    """
    stem, dot, ending = name.strip().rpartition(".")
    bare = stem if f"{dot}{ending}".lower() in SUFFIXES else name.strip()
    match = NAME_PATTERN.fullmatch(re.sub(r"\s*-\s*|\s+", "-", bare))
    if match is None:
        return None
    case, code, x, y = match.groups()
    return TileName(case, f"{case}-{code}", int(x), int(y))


def _labels(folder: Path, names: Mapping[Path, TileName]) -> dict[Path, str]:
    """The one label of every picture."""
    found: dict[Path, set[str]] = {path: set() for path in names}
    for path, label in _labelled(folder, names):
        found[path].add(label)
    disputed = [
        f"{path.name!r} ({' or '.join(map(repr, sorted(labels)))})"
        for path, labels in found.items()
        if len(labels) > 1
    ]
    if disputed:
        raise DatasetError(f"the tables of {folder} disagree about {plainly(disputed)}; correct one of them")
    unlabelled = (path.name for path, labels in found.items() if not labels)
    refuse(
        unlabelled,
        f"no table of {folder} has a label for",
        f"each picture needs a row in {VALIDATION} or {FEATURES}",
    )
    return {path: next(iter(labels)) for path, labels in found.items()}


def _labelled(folder: Path, names: Mapping[Path, TileName]) -> Iterator[tuple[Path, str]]:
    """Pictures and their labels from every table; a `PathologistValidation.csv` labels its own folder only."""
    for table in tables_below(folder, VALIDATION_PATTERN):
        here = {name: path for path, name in names.items() if path.parent == table.parent}
        rows = ((line[0], line[1] if len(line) > 1 else "") for line in read_lines(table))
        yield from _matched(table, rows, here)
    everywhere = {name: path for path, name in names.items()}
    for table in tables_below(folder, FEATURES_PATTERN):
        named = ((row[NAME], row[LABEL]) for row in read_rows(table, (NAME, LABEL)))
        yield from _matched(table, named, everywhere)


def _matched(
    table: Path, rows: Iterable[tuple[str, str]], pictures: Mapping[TileName, Path]
) -> list[tuple[Path, str]]:
    """Rows whose pictures are there."""
    found = [(tile_name(name), label) for name, label in rows]
    matched = [(pictures[name], label) for name, label in found if name is not None and name in pictures]
    nameless = sum(name is None for name, _ in found)
    if len(matched) < len(found):
        log.info(
            "%s: %d of %d rows are ignored, as their pictures are not there, %d of them for want of a name",
            table, len(found) - len(matched), len(found), nameless,
        )  # fmt: skip
    return matched
