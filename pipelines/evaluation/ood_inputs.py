"""Run a model on pictures and slides that it was not made for, and measure how many cells it abstains on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import auc

from wsi_necrosis.analysis import analyse
from wsi_necrosis.dataset.tables import positive, read_rows
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.metrics.curves import roc_curve
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import Settings

COLUMNS = ("file", "group", "expected", "mpp")
EXPECTED = ("ood", "unseen", "open")
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".bmp"})
TILE_PX = 256


@dataclass(frozen=True)
class OodInput:
    """A picture or slide; `expected` is "ood" where the model should abstain, and "open" where both are acceptable.

    Where it is "unseen" the model should abstain too, and no part of the method was chosen on the picture.
    `mpp` is None where the slide states its pixel size.
    """

    path: Path
    group: str
    expected: str
    mpp: float | None


@dataclass(frozen=True)
class Reaction:
    """The run on an input: its result, the number of cells without tissue, and the distances of cells with tissue.

    `distance` is over the model's limit.
    """

    input: OodInput
    result: dict[str, Any]
    masked_cells: int
    distance: NDArray[np.float32]

    @property
    def held_off(self) -> int:
        """Cells without tissue, or on which the model abstains."""
        return self.masked_cells + int((self.distance > 1).sum())

    def row(self) -> dict[str, Any]:
        """JSON-ready; shares are of the picture's area, and add up to 1."""
        mm2 = self.result["ledger"]["mm2"]
        total = self.result["ledger"]["total_px"] * self.result["ledger"]["pixel_mm2"]
        shares = {
            "masked": mm2["background"], "abstained": mm2["abstained"], "non_tumour": mm2["non_tumour_by_class"],
            "tumour": mm2["non_viable_by_class"] + mm2["viable_by_class"], "unreadable": mm2["unreadable"],
        }  # fmt: skip
        return {
            "file": self.input.path.name,
            "group": self.input.group,
            "expected": self.input.expected,
            "status": self.result["reason"] or self.result["status"],
            "shares": {name: round(area / total, 4) for name, area in shares.items()},
            "cells": self.masked_cells + len(self.distance),
            "held_off_cells": self.held_off,
            "least_distance": round(float(self.distance.min()), 3) if len(self.distance) else None,
        }


def read_ood_inputs(table: Path) -> tuple[OodInput, ...]:
    """Rows of a CSV table with the columns file, group, expected (ood, unseen or open) and mpp (may be empty).

    Files may name environment variables, and are relative to the table.

    Raises
    ------
    DatasetError
        The table cannot be read, lacks a column, names a missing file, or holds an invalid value.
    """
    return tuple(_parsed(row, table) for row in read_rows(table, COLUMNS))


def react(inputs: Sequence[OodInput], settings: Settings) -> Iterator[Reaction]:
    """Run the model on each input as on any slide."""
    with TemporaryDirectory() as scratch:
        for at, each in enumerate(inputs):
            folder = Path(scratch) / str(at)
            with _as_slide(each, Path(scratch)) as slide:
                mpp = None if each.mpp is None else Mpp(each.mpp, each.mpp)
                report = analyse(slide, folder, settings, mpp=mpp, slide_id=each.path.name)
            yield Reaction(each, dict(report.result), *_cells(report.scores()))


def summarise(reactions: Sequence[Reaction], familiar: NDArray[np.float64]) -> dict[str, Any]:
    """Rows of all inputs, and figures over those expected to be out of distribution.

    Parameters
    ----------
    reactions : sequence of Reaction
        One for each picture or slide.
    familiar : float array (m,)
        Distance over the limit of crops with tissue of left-out cases.

    Returns
    -------
    dict
        `rows`; `auroc` of the distance by group and over all that are expected to be out of distribution, against the
        familiar crops; `held_off`, the share of cells of the expected ones that are masked or abstained on;
        `unseen_cells`, how many cells of the unseen ones are so, and how many they have; `familiar_abstained`, the
        share of familiar crops beyond the limit.
    """
    groups = dict.fromkeys(each.input.group for each in reactions)
    by_group = {group: [each for each in reactions if each.input.group == group] for group in groups}
    expected, unseen = (
        [each for each in reactions if each.input.expected == kind] for kind in ("ood", "unseen")
    )
    held_off, cells = _held_off(expected)
    return {
        "rows": [each.row() for each in reactions],
        "auroc": {group: _auroc(some, familiar) for group, some in by_group.items()}
        | {"all that should be refused": _auroc(expected, familiar)},
        "held_off": round(held_off / cells, 4) if cells else None,
        "held_off_cells": [held_off, cells],
        "unseen_cells": _held_off(unseen),
        "familiar_abstained": round(float((familiar > 1).mean()), 4),
    }


def _held_off(reactions: Sequence[Reaction]) -> list[int]:
    """Cells that are masked or abstained on, and all cells."""
    return [
        sum(each.held_off for each in reactions),
        sum(each.masked_cells + len(each.distance) for each in reactions),
    ]


def _parsed(row: Mapping[str, str], table: Path) -> OodInput:
    path = table.parent / os.path.expandvars(row["file"])
    if not path.is_file():
        raise DatasetError(f"{table} names {path}, which is not there; correct the table")
    if row["expected"] not in EXPECTED:
        raise DatasetError(
            f"{table}: {row['file']} is expected to be {row['expected']!r}; write ood, unseen or open"
        )
    try:
        mpp = positive(row["mpp"]) if row["mpp"] else None
    except ValueError:
        raise DatasetError(
            f"{table}: {row['file']} has the pixel size {row['mpp']!r}; write a number above 0, in um"
        ) from None
    if mpp is None and path.suffix.lower() in PICTURES:
        raise DatasetError(
            f"{table}: {row['file']} is a picture, which carries no pixel size; write its mpp in um"
        )
    return OodInput(path, row["group"], row["expected"], mpp)


@contextmanager
def _as_slide(source: OodInput, scratch: Path) -> Iterator[Path]:
    """The slide itself, or a picture as a tiled TIFF, which OpenSlide reads."""
    if source.path.suffix.lower() not in PICTURES:
        yield source.path
        return
    try:
        with Image.open(source.path) as image:
            rgb = np.asarray(image.convert("RGB"))
    # what Pillow raises for damaged files, by format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{source.path} cannot be read ({error}); correct the table") from None
    slide = scratch / f"{source.path.stem}.tiff"
    tifffile.imwrite(slide, rgb, tile=(TILE_PX, TILE_PX), photometric="rgb", compression="deflate")
    yield slide
    slide.unlink()


def _cells(scores: Scores) -> tuple[int, NDArray[np.float32]]:
    """Number of cells without tissue, and distances of those with tissue; unreadable cells are neither."""
    without_tissue = np.isin(scores.state, (CellState.SCORED, CellState.UNREADABLE), invert=True)
    return int(without_tissue.sum()), scores.ood[scores.state == CellState.SCORED]


def _auroc(reactions: Sequence[Reaction], familiar: NDArray[np.float64]) -> float | None:
    distance = np.concatenate([each.distance for each in reactions]) if reactions else np.zeros(0)
    if not len(distance) or not len(familiar):
        return None
    positive = np.r_[np.ones(len(distance), bool), np.zeros(len(familiar), bool)]
    false_alarms, found = roc_curve(positive, np.r_[distance, familiar])
    return round(float(auc(false_alarms, found)), 4)
