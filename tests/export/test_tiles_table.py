from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from wsi_necrosis.export.tiles_table import tiles_table, write_tiles_table
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.tiling.quality import Measure

COLUMNS = ["row", "col", "minx", "miny", "width", "height"]
COLUMNS += ["prob_NonTumor", "prob_NonViableTumor", "prob_ViableTumor"]
COLUMNS += ["uncertainty", "ood", "defocus", "tissue_px", "tissue_mm2", "state"]


def test_one_row_for_each_scored_or_unreadable_cell(made_up: Callable[..., Any]) -> None:
    scores = made_up().scores
    table = tiles_table(scores)
    assert table.column_names == COLUMNS
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    assert list(zip(row, col, strict=True)) == [
        tuple(at) for at in np.argwhere(scores.state >= CellState.SCORED)
    ]
    names = {CellState.SCORED: "scored", CellState.UNREADABLE: "unreadable"}
    assert table["state"].to_pylist() == [names[CellState(value)] for value in scores.state[row, col]]
    assert set(table["state"].to_pylist()) == {"scored", "unreadable"}


def test_values_are_those_of_the_store(made_up: Callable[..., Any]) -> None:
    scores = made_up().scores
    table = tiles_table(scores)
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    scored = np.array(table["state"].to_pylist()) == "scored"
    for k, name in enumerate(COLUMNS[6:9]):
        values = np.array([np.nan if v is None else v for v in table[name].to_pylist()], np.float32)
        np.testing.assert_array_equal(values, scores.prob[row, col, k])
        assert table[name].null_count == (~scored).sum() > 0
    for name in ("uncertainty", "ood"):
        values = np.array([np.nan if v is None else v for v in table[name].to_pylist()], np.float32)
        np.testing.assert_array_equal(values, getattr(scores, name)[row, col])
        assert table[name].null_count == (~scored).sum()
    assert max(v for v in table["ood"].to_pylist() if v is not None) > 1
    defocus = np.array([np.nan if v is None else v for v in table["defocus"].to_pylist()], np.float32)
    np.testing.assert_array_equal(defocus, scores.quality[row, col, Measure.DEFOCUS])
    np.testing.assert_array_equal(table["tissue_px"].to_numpy(), scores.px[row, col, 1])
    assert sum(table["tissue_mm2"].to_pylist()) == pytest.approx(scores.px[..., 1].sum() * scores.px_mm2)


def test_boxes_are_those_of_the_tiles(made_up: Callable[..., Any]) -> None:
    scores = made_up(cols=64, rows=64, fill="tissue").scores
    first, last = tiles_table(scores).to_pylist()[0], tiles_table(scores).to_pylist()[-1]
    # tiles of 256 um on cells of 128 um reach 64 um beyond them: 128 and 64 pixels of level 0
    assert [first[name] for name in COLUMNS[:6]] == [0, 0, 1000 - 128, 600 - 64, 512, 256]
    assert [last[name] for name in COLUMNS[:6]] == [1, 1, 1000 - 128 + 256, 600 - 64 + 128, 512, 256]


def test_reads_back_with_types_of_its_own(made_up: Callable[..., Any], tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.parquet", tmp_path / "full.parquet"
    write_tiles_table(empty, made_up(fill="glass").scores)
    write_tiles_table(full, made_up().scores)
    assert pq.read_table(empty).num_rows == 0
    assert pq.read_table(empty).schema == pq.read_table(full).schema
    assert pq.read_table(full).equals(tiles_table(made_up().scores))
