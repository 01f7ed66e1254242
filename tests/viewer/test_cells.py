from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.quantify.foci import foci_of
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.scores.labels import cell_class
from wsi_necrosis.viewer.cells import CLASSES, NOTHING, SCALES, TOP, SlideCells


@pytest.fixture(scope="module")
def report(measured: Path) -> SlideReport:
    return open_results(measured / "slides" / "a.tiff")


@pytest.fixture(scope="module")
def cells(report: SlideReport) -> SlideCells:
    return SlideCells(report)


def planes(cells: SlideCells, hidden: set[tuple[int, int]]) -> np.ndarray:
    found = np.frombuffer(cells.layers(hidden), np.uint8)
    return found.reshape(1 + len(SCALES), *cells.grid.shape)


def test_layers_show_the_scores(cells: SlideCells, report: SlideReport) -> None:
    scores, found = report.scores(), planes(cells, set())
    label = cell_class(scores, report.settings.quantify)
    assert np.array_equal(found[0], label)
    known = np.isfinite(scores.prob[..., 2])
    assert np.array_equal(found[1] != NOTHING, known)
    assert np.abs(found[1][known] / TOP - scores.prob[..., 2][known]).max() <= 0.5 / TOP + 1e-6
    assert np.abs(found[4][known] / TOP - scores.uncertainty[known]).max() <= 0.5 / TOP + 1e-6


def test_facts_of_a_tile_are_its_row_of_the_table(cells: SlideCells, report: SlideReport) -> None:
    table = pq.read_table(report.folder / "tiles.parquet")
    row = table.slice(table.num_rows // 2, 1).to_pylist()[0]
    found = cells.facts(row["row"], row["col"], set())
    assert found["tile"] == row
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [(each["row"], each["col"]) for each in found["neighbours"]][4] == (row["row"], row["col"])
    assert found["neighbours"][4]["label"] == row["label"]
    assert len(found["radiomics"]) == 3
    assert all(isinstance(value, float) for value in found["radiomics"].values())


def test_hidden_cells_tell_nothing(cells: SlideCells) -> None:
    row, col = np.argwhere(planes(cells, set())[0] > 0)[0].tolist()
    found = planes(cells, {(row, col)})
    assert found[0, row, col] == 0
    assert (found[1:, row, col] == NOTHING).all()
    facts = cells.facts(row, col, {(row, col)})
    assert set(facts) == {"row", "col", "tile_l0", "hidden"}
    beside = cells.facts(row, col, set())["neighbours"][5]
    around = cells.facts(row, col, {(beside["row"], beside["col"])})["neighbours"][5]
    assert around == {"row": beside["row"], "col": beside["col"], "hidden": True}


def test_glass_has_no_tile_and_no_cell_is_outside(cells: SlideCells) -> None:
    row, col = np.argwhere(planes(cells, set())[0] == 0)[0].tolist()
    assert cells.facts(row, col, set())["tile"] is None
    for place in ((-1, 0), (cells.grid.shape[0], 0), (0, 10**8)):
        with pytest.raises(UsageError, match="there is no cell"):
            cells.facts(*place, set())


def test_foci_are_those_of_the_slide(cells: SlideCells, report: SlideReport) -> None:
    assert cells.foci == foci_of(report.scores(), report.settings.quantify)
    assert cells.n_foci == len(cells.foci) > 0


def test_layers_name_columns_of_the_table(report: SlideReport) -> None:
    names = pq.read_schema(report.folder / "tiles.parquet").names
    assert {layer.column for layer in (CLASSES, *SCALES)} <= set(names)


def test_a_lost_table_is_named(out: Path) -> None:
    folder = out / "slides" / "a.tiff"
    (folder / "tiles.parquet").write_bytes(b"no table")
    with pytest.raises(StoreError, match=r"tiles\.parquet cannot be read"):
        SlideCells(open_results(folder))
