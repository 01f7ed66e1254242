from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.metrics.cases import CaseError, case_errors, one_hot, percent_viable

MIXED = (0.0, 0.5, 0.5)


def test_percent_viable_counts_tumour_only() -> None:
    assert percent_viable(np.array([[0.5, 0.3, 0.2], [0.9, 0.1, 0.0]])) == pytest.approx(100 * 0.2 / 0.6)
    assert np.isnan(percent_viable(one_hot(np.array([0, 0]))))


def test_errors_by_hand() -> None:
    truth = np.array([MIXED, (0, 0, 1), (1, 0, 0)])
    prob = np.array([(0.0, 0.8, 0.2), (0.2, 0.2, 0.6), (0.6, 0.2, 0.2)])
    found = case_errors(truth, prob, ["A", "A", "A"])["A"]
    assert found == CaseError(
        truth=75.0,
        soft=pytest.approx(100 * 1.0 / 2.2),
        hard=50.0,
        soft_error=pytest.approx(100 / 2.2 - 75),
        hard_error=-25.0,
    )


def test_a_case_without_tumour_has_no_error() -> None:
    truth = one_hot(np.array([2, 0, 2]))
    prob = np.array([(0.6, 0.2, 0.2), (0.6, 0.1, 0.3), (0.1, 0.2, 0.7)])
    found = case_errors(truth, prob, np.array(["B", "A", "C"]))
    assert list(found) == ["B", "A", "C"]
    assert found["A"] == CaseError(None, pytest.approx(75.0), None, None, None)
    assert found["B"] == CaseError(100.0, pytest.approx(50.0), None, pytest.approx(-50.0), None)


def test_arrays_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit 1 tiles"):
        case_errors(np.ones((2, 3)), np.ones((2, 3)), ["A"])


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 2)), min_size=1, max_size=30))
def test_the_truth_has_no_error(tiles: list[tuple[str, int]]) -> None:
    truth = one_hot(np.array([label for _, label in tiles]))
    for case, found in case_errors(truth, truth, [case for case, _ in tiles]).items():
        tumour = {label for name, label in tiles if name == case} - {0}
        assert found.soft_error == found.hard_error == (0 if tumour else None)
        assert (found.truth is None) == (not tumour)
