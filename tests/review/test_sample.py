from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.review.rule import allocate
from wsi_necrosis.review.sample import read_sample, sample_cells


def edited(folder: Path, **changed: object) -> None:
    path = folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def test_cells_of_all_slides_are_drawn_by_area_within_predicted_classes(out: Path) -> None:
    found = sample_cells(out, 20, 1)
    assert read_sample(out) == found
    assert [slide.slide_id for slide in found.slides] == ["a.tiff", "b.tiff"]
    assert sum(found.shares) == pytest.approx(1)
    assert found.labels == 20
    assert [cell.number for cell in found.cells] == list(range(1, len(found.cells) + 1))
    drawn = [sum(cell.times for cell in found.cells if cell.predicted == at) for at in range(3)]
    assert drawn == allocate(found.shares, 20).tolist()
    assert {cell.slide for cell in found.cells} == {0, 1}
    assert not found.rounds


def test_the_order_of_cells_does_not_tell_what_was_predicted(out: Path) -> None:
    predicted = [cell.predicted for cell in sample_cells(out, 30, 1).cells]
    assert predicted != sorted(predicted)
    assert sum(a != b for a, b in pairwise(predicted)) > 6


def test_the_same_seed_draws_the_same_cells_and_another_seed_others(out: Path) -> None:
    first = sample_cells(out, 20, 1)
    assert sample_cells(out, 20, 1) == first
    assert sample_cells(out, 20, 2, name="other").cells != first.cells


def test_more_cells_keep_those_drawn_before_and_count_as_rounds(out: Path) -> None:
    first = sample_cells(out, 20, 1)
    with pytest.raises(UsageError, match="begun with seed 1, not 7; leave --seed out"):
        sample_cells(out, 40, 7)
    with pytest.raises(UsageError, match="501 cells are too many"):
        sample_cells(out, 501)
    more = sample_cells(out, 40)
    assert (more.seed, more.labels, more.rounds) == (1, 40, True)
    kept = {cell.number: (cell.slide, cell.row, cell.col) for cell in more.cells}
    assert all(kept[cell.number] == (cell.slide, cell.row, cell.col) for cell in first.cells)
    with pytest.raises(UsageError, match="was begun with 40 cells"):
        sample_cells(out, 30, 1)


def test_several_cases_and_a_slide_that_stands_twice_are_refused(out: Path) -> None:
    edited(out / "slides" / "a.tiff", manifest={"case": "A"})
    with pytest.raises(UsageError, match=r"of the cases '', 'A'; name one with --case"):
        sample_cells(out, 20, 1)
    assert [slide.slide_id for slide in sample_cells(out, 10, 1, case="A").slides] == ["a.tiff"]
    with pytest.raises(UsageError, match="no results of the case 'B'"):
        sample_cells(out, 20, 1, case="B")
    with pytest.raises(UsageError, match="was begun of other slides"):
        sample_cells(out, 20, 1, case="")
    shutil.copytree(out / "slides" / "b.tiff", out / "slides" / "c.tiff")
    with pytest.raises(UsageError, match="one slide stands under several names"):
        sample_cells(out, 20, 1, case="", name="twice")


def test_what_is_not_there_or_damaged_is_named(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no results"):
        sample_cells(tmp_path / "nothing", 20, 1)
    with pytest.raises(UsageError, match=r"review\.json is not there; draw cells"):
        read_sample(out)
    sample_cells(out, 20, 1)
    (out / "reviews" / "review.json").write_text('{"name": 3}')
    with pytest.raises(StoreError, match=r"review\.json is damaged"):
        read_sample(out)
    with pytest.raises(UsageError, match="no name of a review"):
        sample_cells(out, 20, 1, name="../x")
