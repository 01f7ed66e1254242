"""The simulation of percent viable by labels, in short."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.labels import CLASSIFIERS, few_cells, row, row_of_cells

DRAWS = 250  # three standard errors of a coverage of .95 are .04


@pytest.mark.parametrize("name", ["useless", "99 % right", "viable called non-tumour"])
@pytest.mark.parametrize(("percent", "labels"), [(0, 10), (2, 150), (50, 40), (98, 40)])
def test_the_interval_holds_the_truth_whatever_the_classifier(name: str, percent: int, labels: int) -> None:
    assert row(percent, CLASSIFIERS[name], labels, DRAWS, 2)[1] >= 91


@pytest.mark.parametrize(("percent", "labels"), [(2, 40), (50, 150)])
def test_it_holds_where_viable_cells_are_large_and_few(percent: int, labels: int) -> None:
    assert row_of_cells(percent, labels, DRAWS, 2)[1] >= 91


def test_large_cells_have_the_share_of_the_area() -> None:
    area, truth = few_cells(50)
    assert len(area) == 300
    assert area[truth == 2].sum() / area[truth > 0].sum() == pytest.approx(0.5, abs=0.02)


def test_a_good_model_makes_it_narrower() -> None:
    alone, good = (row(50, each, 20, DRAWS, 2) for each in (None, CLASSIFIERS["80 % right"]))
    assert good[2] < alone[2]
    assert np.isfinite(good).all()
