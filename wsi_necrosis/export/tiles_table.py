"""`tiles.parquet`: one row per scored or unreadable cell, with WSInfer's column names where they exist."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wsi_necrosis.classes import TUMOUR_CLASSES
from wsi_necrosis.files import atomic_write
from wsi_necrosis.quantify.ledger import ABSTAINED_FOR
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel, cell_class, defocused_cells, ood_cells
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount
from wsi_necrosis.tiling.quality import Measure

BOX = ("minx", "miny", "width", "height")  # as WSInfer calls them
LABELS = {label: label.name.lower() for label in CellLabel if label}  # in the column `label`
FRAME = "pixels of the whole level 0, its top-left corner at (0, 0); the slide's bounds are not subtracted"


def tiles_table(scores: Scores, settings: QuantifySettings, result: Mapping[str, Any]) -> pa.Table:
    """Scored and unreadable cells in row-major order.

    Parameters
    ----------
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        Under which cells are labelled.
    result : mapping
        The content of `result.json`: `slide_id`, and what the schema's metadata say.

    Returns
    -------
    pyarrow.Table
        `slide_id`; `row`, `col` of the cell; `minx`, `miny`, `width`, `height` of its tile in whole pixels of level 0
        (not cut at the slide's edge, bounds not subtracted); `label`, one of `LABELS`, and `reason`, why a cell
        abstained, one of `ledger.ABSTAINED_FOR`, else null; `prob_<Class>`, `uncertainty`, `ood` (above 1: unlike the
        training tiles) and `defocus` (above 1: out of focus), null where unreadable or not known; `tissue_px` and
        `tissue_mm2` of the cell. The schema's metadata name pixel sizes, model, frame and version, as text.
    """
    row, col = np.nonzero(np.isin(scores.state, (CellState.SCORED, CellState.UNREADABLE)))
    scored = scores.state[row, col] == CellState.SCORED
    prob = scores.prob[row, col]
    defocus = scores.quality[row, col, Measure.DEFOCUS]
    tissue = scores.px[row, col, PixelCount.TISSUE]
    label = cell_class(scores, settings)[row, col]
    columns: dict[str, pa.Array] = {
        "slide_id": pa.array([result["slide_id"]] * len(row), pa.string()),
        "row": pa.array(row.astype(np.int32)),
        "col": pa.array(col.astype(np.int32)),
        **_tile_boxes(scores, row, col),
        "label": pa.array([LABELS[value] for value in label], pa.string()),
        "reason": pa.array(_reasons(scores, settings, label == CellLabel.ABSTAINED, (row, col)), pa.string()),
        **{each.column: _known(prob[:, k], scored) for k, each in enumerate(TUMOUR_CLASSES)},
        "uncertainty": _known(scores.uncertainty[row, col], scored),
        "ood": _known(scores.ood[row, col], scored),
        "defocus": _known(defocus, scored & np.isfinite(defocus)),
        "tissue_px": pa.array(tissue),
        "tissue_mm2": pa.array(tissue * scores.px_mm2),
    }
    return pa.table(columns).replace_schema_metadata(_metadata(result))


def write_tiles_table(
    path: Path, scores: Scores, settings: QuantifySettings, result: Mapping[str, Any]
) -> None:
    """Write `tiles_table` as Parquet; a file that exists is replaced.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    table = tiles_table(scores, settings, result)
    with atomic_write(path, durable=False) as partial:
        pq.write_table(table, partial)


def write_tiles_csv(
    path: Path, scores: Scores, settings: QuantifySettings, result: Mapping[str, Any]
) -> None:
    """Write the scored cells of `tiles_table` as CSV: WSInfer's columns first; a file that exists is replaced.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    from pyarrow.csv import write_csv  # no part of the usual files

    table = tiles_table(scores, settings, result)
    scored = table.filter(table["uncertainty"].is_valid())
    of_wsinfer = (*BOX, *(each.column for each in TUMOUR_CLASSES))
    others = [name for name in table.column_names if name not in {*of_wsinfer, "slide_id"}]
    with atomic_write(path, durable=False) as partial:
        write_csv(scored.select([*of_wsinfer, *others]), partial)


def _reasons(
    scores: Scores, settings: QuantifySettings, abstained: NDArray[np.bool_], at: tuple[Any, Any]
) -> list[str | None]:
    """Why each cell abstained, by the first reason that applies; None for the others."""
    found = np.full(len(abstained), None, object)
    found[abstained] = ABSTAINED_FOR[2]
    found[defocused_cells(scores, settings)[at]] = ABSTAINED_FOR[1]
    found[ood_cells(scores, settings)[at]] = ABSTAINED_FOR[0]
    return list(found)


def _metadata(result: Mapping[str, Any]) -> dict[str, str]:
    provenance = result["provenance"]
    slide, grid, model = provenance["slide"], provenance["grid"], provenance["model"]
    facts = {
        "frame": FRAME,
        "mpp_x": slide["mpp_x"],
        "mpp_y": slide["mpp_y"],
        "working_mpp_x": grid["working_mpp_x"],
        "working_mpp_y": grid["working_mpp_y"],
        "tile_px": grid["tile_px"],
        "stride_px": grid["stride_px"],
        "model": model["name"],
        "model_sha256": model["sha256"],
        "version": provenance["versions"]["wsi-necrosis"],
    }
    return {name: str(value) for name, value in facts.items()}


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
