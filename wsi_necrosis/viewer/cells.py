"""What the results of a slide say of its cells: layers to lay over the slide, the facts of one cell, and foci."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, TUMOUR_CLASSES, VIABLE
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.export.tiles_table import LABELS
from wsi_necrosis.quantify.foci import Focus, foci_of
from wsi_necrosis.report.slide_report import SlideReport
from wsi_necrosis.scores.slide_folder import TILES, SlideFolder
from wsi_necrosis.scores.store import ScoreReader
from wsi_necrosis.tiling.grid import TileGrid

NOTHING = 255  # byte of a cell without a value
TOP = 250  # byte of the highest value that a layer shows
MOST_FOCI = 200  # the others are small; the page says how many there are
Place = tuple[int, int]  # row and column of a cell


@dataclass(frozen=True)
class Layer:
    """A layer: its column in `tiles.parquet`, its title, and the value that its darkest colour stands for.

    `limit` is the value beyond which a cell abstains, where there is one that every slide shares.
    """

    column: str
    title: str
    highest: float = 1.0
    limit: float | None = None


CLASSES = Layer("label", "Classes")
SCALES = (
    *(Layer(TUMOUR_CLASSES[at].column, TUMOUR_CLASSES[at].title) for at in (VIABLE, NON_VIABLE, NON_TUMOUR)),
    Layer("uncertainty", "Uncertainty"),
    Layer("ood", "Unlike the training tiles", 2.0, 1.0),
    Layer("defocus", "Out of focus", 2.0, 1.0),
)
NUMBER_OF = {name: int(label) for label, name in LABELS.items()}


class SlideCells:
    """The cells of a finished slide.

    Parameters
    ----------
    report : SlideReport
        Its results.

    Raises
    ------
    StoreError
        The folder has lost its table of tiles or its scores.
    """

    def __init__(self, report: SlideReport) -> None:
        self._table = _read_table(report.folder / TILES)
        self._scores: ScoreReader = SlideFolder(report.folder).score_reader()
        self.grid: TileGrid = self._scores.grid
        self._places = self._numbers("row").astype(int), self._numbers("col").astype(int)
        self._index = np.full(self.grid.shape, -1, np.int32)  # row of the table, of each cell that has one
        self._index[self._places] = np.arange(self._table.num_rows)
        found = foci_of(self._scores.read(), report.settings.quantify)
        self.n_foci = len(found)
        self.foci: tuple[Focus, ...] = found[:MOST_FOCI]

    def layers(self, hidden: Collection[Place]) -> bytes:
        """All layers, a byte per cell, row by row: the classes, then `SCALES`.

        Of classes a byte is a `CellLabel`; of scales 0 to `TOP` from 0 to the layer's highest value, and `NOTHING`
        where there is none.

        Parameters
        ----------
        hidden : collection of (row, col)
            Cells that must not tell what was found in them.
        """
        labels = np.array([NUMBER_OF[name] for name in self._table[CLASSES.column].to_pylist()], np.uint8)
        planes = [self._plane(labels, 0, hidden)]
        planes += [
            self._plane(_as_bytes(self._numbers(layer.column), layer.highest), NOTHING, hidden)
            for layer in SCALES
        ]
        return b"".join(plane.tobytes() for plane in planes)

    def _plane(self, values: NDArray[np.uint8], nothing: int, hidden: Collection[Place]) -> NDArray[np.uint8]:
        plane = np.full(self.grid.shape, nothing, np.uint8)
        plane[self._places] = values
        for place in hidden:
            plane[place] = nothing
        return plane

    def _numbers(self, column: str) -> NDArray[np.float64]:
        """A column of numbers, NaN where there is none."""
        return np.asarray(self._table[column].to_numpy(zero_copy_only=False), np.float64)

    def facts(self, row: int, col: int, hidden: Collection[Place]) -> dict[str, Any]:
        """What is known of a cell, JSON-ready: its row of `tiles.parquet`, radiomics, gate and neighbours.

        Parameters
        ----------
        row, col : int
            Of the cell.
        hidden : collection of (row, col)
            Cells that must not tell what was found in them: of these only the place is given.

        Raises
        ------
        UsageError
            There is no such cell.
        """
        if not self._has((row, col)):
            rows, cols = self.grid.shape
            raise UsageError(f"there is no cell {row}, {col}; this slide has {rows} x {cols} cells")
        box = self.grid.tile_box(row, col)
        place = {"row": row, "col": col, "tile_l0": [box.x_l0, box.y_l0, box.width_l0, box.height_l0]}
        if (row, col) in hidden:
            return {**place, "hidden": True}
        at = int(self._index[row, col])
        if at < 0:
            return {**place, "tile": None}
        return {
            **place,
            "tile": self._of_table(at, self._table.column_names),
            **self._branches(row, col),
            "neighbours": [self._neighbour(each, hidden) for each in _around(row, col)],
        }

    def _has(self, place: Place) -> bool:
        return all(0 <= at < length for at, length in zip(place, self.grid.shape, strict=True))

    def _of_table(self, at: int, names: Sequence[str]) -> dict[str, Any]:
        return {name: _plain(self._table[name][at].as_py()) for name in names}

    def _neighbour(self, place: Place, hidden: Collection[Place]) -> dict[str, Any]:
        facts: dict[str, Any] = {"row": place[0], "col": place[1]}
        if place in hidden:
            return {**facts, "hidden": True}
        at = int(self._index[place]) if self._has(place) else -1
        return (
            facts if at < 0 else facts | self._of_table(at, (CLASSES.column, TUMOUR_CLASSES[VIABLE].column))
        )

    def _branches(self, row: int, col: int) -> dict[str, Any]:
        """Radiomic features of a tile, and the weights of the model's branches where it has any."""
        block = next(
            each
            for each in self.grid.blocks()
            if each.row <= row < each.row + each.rows and each.col <= col < each.col + each.cols
        )
        found = self._scores.read_block(block)
        inside = row - block.row, col - block.col
        values = [_plain(value) for value in found.radiomics[inside].tolist()]
        gate = found.gate[inside].tolist()
        return {
            "radiomics": dict(zip(self._scores.plan["features"], values, strict=True)),
            "gate": None if math.isnan(gate[0]) else {"image": gate[0], "radiomics": gate[1]},
        }


def _around(row: int, col: int) -> Iterator[Place]:
    """Places of a cell and its eight neighbours, row by row."""
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            yield row + down, col + across


def _read_table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, ValueError) as error:  # pyarrow's errors are among these
        raise StoreError(f"{path} cannot be read ({error}); run the slide again") from None


def _as_bytes(values: NDArray[np.float64], highest: float) -> NDArray[np.uint8]:
    shown = np.clip(np.nan_to_num(values) / highest, 0, 1)
    return np.where(np.isfinite(values), np.rint(TOP * shown), NOTHING).astype(np.uint8)


def _plain(value: Any) -> Any:
    """A value for JSON, which has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
