from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.agreement import confusion, one_hot, percent_viable, tile_figures

LABELS = np.array([0, 0, 0, 1, 1, 2])
SAID = np.array([0, 0, 1, 1, 2, 2])


def test_figures_by_hand() -> None:
    assert confusion(LABELS, SAID).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    figures = tile_figures(LABELS, one_hot(SAID))
    assert figures == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3,
            "macro_f1": (4 / 5 + 2 / 4 + 2 / 3) / 3,
            "recall_non_tumour": 2 / 3,
            "recall_non_viable": 1 / 2,
            "recall_viable": 1.0,
        }
    )


def test_a_class_without_tiles_has_no_recall() -> None:
    figures = tile_figures(np.array([0, 0]), one_hot(np.array([0, 2])))
    assert "recall_viable" not in figures
    assert figures["balanced_accuracy"] == 0.5


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_figures_stay_in_range_and_are_1_when_all_is_right(pairs: list[tuple[int, int]]) -> None:
    labels, said = np.array(pairs).T
    assert all(0 <= value <= 1 for value in tile_figures(labels, one_hot(said)).values())
    assert set(tile_figures(labels, one_hot(labels)).values()) == {1.0}


def test_percent_viable_counts_tumour_only() -> None:
    assert percent_viable(np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])) == pytest.approx(100 * 0.2 / 0.6)
    assert np.isnan(percent_viable(one_hot(np.array([0, 0]))))
