"""Labelled tiles, and splits that never share a case.

A folder of tiles is described by `labels.csv` with the columns file, case, slide, x, y and label;
further columns are ignored, except `sha256`, which finds the same picture under two names.
"""

from __future__ import annotations

import csv
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.settings import CropSettings

LABELS = {"Non-Tumor": NON_TUMOUR, "Non-Viable-Tumor": NON_VIABLE, "Viable": VIABLE}
MIXED_LABEL = "viable: non-viable"
COLUMNS = ("file", "case", "slide", "x", "y", "label")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledTile:
    """One tile with its pathologist's label.

    Attributes
    ----------
    path : Path
        The picture.
    label : int
        Index into `classes.CLASSES`.
    case, slide : str
        Patient, and slide code within the patient. Slides of a case share one image frame, so only
        cases are independent.
    x_l0, y_l0 : int
        Position on its slide in level-0 pixels.
    mpp : float
        Size of its pixels in um.
    sha256 : str
        Hash of the file where the table gives it, else empty.
    """

    path: Path
    label: int
    case: str
    slide: str
    x_l0: int
    y_l0: int
    mpp: float
    sha256: str = ""


@dataclass(frozen=True)
class Fold:
    """Training and test tiles that share no case and no picture.

    Raises
    ------
    DatasetError
        They do; figures from such a split would be too good.
    """

    train: tuple[LabelledTile, ...]
    test: tuple[LabelledTile, ...]

    def __post_init__(self) -> None:
        cases = {tile.case for tile in self.train} & {tile.case for tile in self.test}
        if cases:
            raise DatasetError(f"training and test tiles share {_listed(cases)}; split by case")
        hashes = {tile.sha256 for tile in self.train} & {tile.sha256 for tile in self.test} - {""}
        if hashes:
            names = {tile.path.name for tile in self.train + self.test if tile.sha256 in hashes}
            raise DatasetError(f"{_listed(names)}: one picture under two cases; correct labels.csv")


def read_labels(folder: Path, mpp: float, mixed: Literal["exclude"] = "exclude") -> tuple[LabelledTile, ...]:
    """Tiles of a folder, in the order of its `labels.csv`.

    Parameters
    ----------
    folder : Path
        Holds `labels.csv` and the pictures that it names.
    mpp : float
        Size of the tiles' pixels in um.
    mixed : {"exclude"}
        What becomes of tiles labelled "viable: non-viable".

    Raises
    ------
    DatasetError
        The table or a picture is missing, a row lacks its case or its position, a picture is listed
        twice, or a label is unknown. All faults of one kind are listed at once; no row falls into a
        default class.
    """
    rows = _rows(folder / "labels.csv")
    kept = [row for row in rows if not (mixed == "exclude" and row["label"] == MIXED_LABEL)]
    if len(kept) < len(rows):
        log.info("%d of %d tiles are labelled %r and left out", len(rows) - len(kept), len(rows), MIXED_LABEL)
    _check_rows(kept, folder)
    tiles = tuple(_tile(row, folder, mpp) for row in kept)
    counts = Counter(CLASSES[tile.label] for tile in tiles)
    log.info("%d tiles of %d cases: %s", len(tiles), len(cases_of(tiles)), dict(counts))
    return tiles


def cases_of(tiles: Iterable[LabelledTile]) -> tuple[str, ...]:
    """The cases of tiles, sorted."""
    return tuple(sorted({tile.case for tile in tiles}))


def leave_case_out(tiles: Sequence[LabelledTile]) -> tuple[Fold, ...]:
    """One fold per case, in the order of `cases_of`, with that case as the test.

    Raises
    ------
    DatasetError
        There are fewer than two cases, or two cases share a picture.
    """
    cases = cases_of(tiles)
    if len(cases) < 2:
        raise DatasetError(
            f"tiles come from {_listed(cases) or 'no case'}; leaving a case out takes at least two"
        )
    return tuple(
        Fold(
            tuple(tile for tile in tiles if tile.case != case),
            tuple(tile for tile in tiles if tile.case == case),
        )
        for case in cases
    )


def cut_crops(tile: LabelledTile, crops: CropSettings) -> NDArray[np.uint8]:
    """Crops of a labelled tile, evenly spread over it: uint8 (per_side^2, tile_px, tile_px, 3).

    The tile is area-averaged to the crops' pixel size first, as a slide is when it is scored.
    """
    reduction = round(crops.mpp_um / tile.mpp)
    if reduction < 1 or abs(reduction * tile.mpp / crops.mpp_um - 1) > 1e-6:
        raise DatasetError(
            f"{tile.path} has {tile.mpp:g} um pixels, no whole fraction of crops.mpp_um {crops.mpp_um:g}"
        )
    try:
        with Image.open(tile.path) as image:
            rgb = np.asarray(image.convert("RGB").reduce(reduction))
    except (OSError, UnidentifiedImageError) as error:
        raise DatasetError(f"{tile.path} cannot be read ({error}); fetch the data again") from None
    side = crops.tile_px
    if min(rgb.shape[:2]) < side:
        raise DatasetError(
            f"{tile.path} has {rgb.shape[:2]} px at {crops.mpp_um:g} um, less than a {side} px crop"
        )
    tops, lefts = (
        np.linspace(0, length - side, crops.per_side).round().astype(int) for length in rgb.shape[:2]
    )
    return np.stack([rgb[top : top + side, left : left + side] for top, left in product(tops, lefts)])


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines)
            rows = [{key: (value or "").strip() for key, value in row.items() if key} for row in reader]
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read ({error.strerror}); give a folder of labelled tiles"
        ) from None
    except UnicodeDecodeError:
        raise DatasetError(f"{path} is not text in UTF-8; save it as CSV") from None
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise DatasetError(f"{path} lacks the columns {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    if not rows:
        raise DatasetError(f"{path} lists no tiles")
    return rows


def _check_rows(rows: Sequence[dict[str, str]], folder: Path) -> None:
    table = folder / "labels.csv"
    unknown = {row["label"] for row in rows} - set(LABELS)
    if unknown:
        raise DatasetError(f"{table} has unknown labels {_listed(unknown)}; known are {_listed(LABELS)}")
    caseless = [row["file"] for row in rows if not row["case"]]
    if caseless:
        raise DatasetError(f"{table} names no case for {_listed(caseless)}; splits are by case")
    twice = [name for name, count in Counter(row["file"] for row in rows).items() if count > 1]
    if twice:
        raise DatasetError(f"{table} lists {_listed(twice)} more than once; keep one row each")
    absent = [row["file"] for row in rows if not (folder / row["file"]).is_file()]
    if absent:
        raise DatasetError(
            f"{folder} lacks {_listed(absent)}, which its labels.csv names; fetch the data again"
        )


def _tile(row: dict[str, str], folder: Path, mpp: float) -> LabelledTile:
    try:
        x_l0, y_l0 = int(row["x"]), int(row["y"])
    except ValueError:
        raise DatasetError(
            f"{row['file']} has the position {row['x']!r}, {row['y']!r}; write whole level-0 pixels in labels.csv"
        ) from None
    label, path = LABELS[row["label"]], folder / row["file"]
    return LabelledTile(path, label, row["case"], row["slide"], x_l0, y_l0, mpp, row.get("sha256", ""))


def _listed(names: Iterable[str]) -> str:
    """Up to five names, sorted, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - 5} more" if len(ordered) > 5 else ""
    return ", ".join(repr(name) for name in ordered[:5]) + more
