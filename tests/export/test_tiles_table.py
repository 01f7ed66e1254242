from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.export.tiles_table import tiles_table, write_tiles_table
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.tiling.quality import Measure

COLUMNS = ["slide_id", "row", "col", "minx", "miny", "width", "height", "label", "reason"]
COLUMNS += ["prob_NonTumor", "prob_NonViableTumor", "prob_ViableTumor"]
COLUMNS += ["uncertainty", "ood", "defocus", "tissue_px", "tissue_mm2"]


def made_table(slide: Any) -> pa.Table:
    return tiles_table(slide.scores, slide.settings, slide.facts)


def test_one_row_for_each_scored_or_unreadable_cell(made_up: Callable[..., Any]) -> None:
    slide = made_up()
    scores, table = slide.scores, made_table(slide)
    assert table.column_names == COLUMNS
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    assert list(zip(row, col, strict=True)) == [
        tuple(at) for at in np.argwhere(scores.state >= CellState.SCORED)
    ]
    assert set(table["slide_id"].to_pylist()) == {"Präparat 7.mrxs"}


def test_labels_and_reasons_are_those_of_the_ledger(made_up: Callable[..., Any]) -> None:
    slide = made_up()
    table, ledger = made_table(slide), slide.score.ledger
    label, reason, tissue = (np.array(table[name].to_pylist()) for name in ("label", "reason", "tissue_px"))
    for name in (*CLASSES, "abstained"):
        assert tissue[label == name].sum() == getattr(ledger, name) > 0
    for name, px in ledger.abstained_by.items():
        assert tissue[reason == name].sum() == px > 0
    assert ((reason != None) == (label == "abstained")).all()  # noqa: E711  # of each item
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    assert ((label == "unreadable") == (slide.scores.state[row, col] == CellState.UNREADABLE)).all()


def test_metadata_say_where_tiles_lie_and_what_scored_them(made_up: Callable[..., Any]) -> None:
    found = {name.decode(): value.decode() for name, value in made_table(made_up()).schema.metadata.items()}
    assert (found["mpp_x"], found["mpp_y"], found["tile_px"]) == ("0.5", "1.0", "256")
    assert (found["model"], found["model_sha256"], found["version"]) == ("made up", "0" * 64, "0.1.0")
    assert "bounds are not subtracted" in found["frame"]


def test_values_are_those_of_the_store(made_up: Callable[..., Any]) -> None:
    slide = made_up()
    scores, table = slide.scores, made_table(slide)
    row, col = table["row"].to_numpy(), table["col"].to_numpy()
    scored = np.array(table["label"].to_pylist()) != "unreadable"
    for k, name in enumerate(COLUMNS[9:12]):
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
    table = made_table(made_up(cols=64, rows=64, fill="tissue")).to_pylist()
    first, last = table[0], table[-1]
    # tiles of 256 um on cells of 128 um reach 64 um beyond them: 128 and 64 pixels of level 0
    assert [first[name] for name in COLUMNS[1:7]] == [0, 0, 1000 - 128, 600 - 64, 512, 256]
    assert [last[name] for name in COLUMNS[1:7]] == [1, 1, 1000 - 128 + 256, 600 - 64 + 128, 512, 256]


def test_reads_back_with_types_of_its_own(made_up: Callable[..., Any], tmp_path: Path) -> None:
    empty, full = tmp_path / "empty.parquet", tmp_path / "full.parquet"
    for path, slide in ((empty, made_up(fill="glass")), (full, made_up())):
        write_tiles_table(path, slide.scores, slide.settings, slide.facts)
    assert pq.read_table(empty).num_rows == 0
    assert pq.read_table(empty).schema == pq.read_table(full).schema
    assert pq.read_table(full).equals(made_table(made_up()))
