"""`tiles.parquet`: one row per scored or unreadable cell, with WSInfer's column names where they exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi_necrosis.classes import TUMOUR_CLASSES
from wsi_necrosis.files import atomic_write
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.tiling.grid import PixelCount
from wsi_necrosis.tiling.quality import Measure


def tiles_table(scores: Scores) -> pa.Table:
    """Scored and unreadable cells in row-major order.

    Parameters
    ----------
    scores : Scores
        The slide's scores.

    Returns
    -------
    pyarrow.Table
        `row`, `col` of the cell; `minx`, `miny`, `width`, `height` of its tile in whole pixels of level 0
        (not cut at the slide's edge, bounds not subtracted); `prob_<Class>`, `uncertainty`, `ood`
        (above 1: unlike the training tiles) and `defocus` (above 1: out of focus), null where unreadable or
        not known; `tissue_px` and `tissue_mm2` of the cell; `state`.
    """
    row, col = np.nonzero(np.isin(scores.state, (CellState.SCORED, CellState.UNREADABLE)))
    state = scores.state[row, col]
    scored = state == CellState.SCORED
    prob = scores.prob[row, col]
    defocus = scores.quality[row, col, Measure.DEFOCUS]
    tissue = scores.px[row, col, PixelCount.TISSUE]
    columns: dict[str, pa.Array] = {
        "row": pa.array(row.astype(np.int32)),
        "col": pa.array(col.astype(np.int32)),
        **_tile_boxes(scores, row, col),
        **{each.column: _known(prob[:, k], scored) for k, each in enumerate(TUMOUR_CLASSES)},
        "uncertainty": _known(scores.uncertainty[row, col], scored),
        "ood": _known(scores.ood[row, col], scored),
        "defocus": _known(defocus, scored & np.isfinite(defocus)),
        "tissue_px": pa.array(tissue),
        "tissue_mm2": pa.array(tissue * scores.px_mm2),
        "state": pa.array([CellState(value).name.lower() for value in state], pa.string()),
    }
    return pa.table(columns)


def write_tiles_table(path: Path, scores: Scores) -> None:
    """Write `tiles_table` as Parquet; a file that exists is replaced.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    table = tiles_table(scores)
    with atomic_write(path, durable=False) as partial:
        pq.write_table(table, partial)


def _tile_boxes(scores: Scores, row: NDArray[np.int64], col: NDArray[np.int64]) -> dict[str, pa.Array]:
    grid, first = scores.grid, scores.grid.tile_box(0, 0)
    cell_x, cell_y = grid.cell_l0
    whole = {
        "minx": np.rint(first.x_l0 + col * cell_x),
        "miny": np.rint(first.y_l0 + row * cell_y),
        "width": np.full(len(row), round(first.width_l0)),
        "height": np.full(len(row), round(first.height_l0)),
    }
    return {name: pa.array(values.astype(np.int64)) for name, values in whole.items()}


def _known(values: NDArray[np.float32], scored: NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=~scored)
