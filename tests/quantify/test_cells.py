import numpy as np
import pytest

from tests.helpers.complete_scores import FAR, NON_TUMOUR, NON_VIABLE, NONE, VIABLE, scores, settings
from wsi_necrosis.quantify.cells import cells_of
from wsi_necrosis.scores.labels import CellLabel

MIXED = (0.5, 0.25, 0.25)


def test_cells_stand_row_by_row_with_their_centres() -> None:
    cells = cells_of(scores(np.full((2, 3, 3), VIABLE), cell_mm=(2.0, 1.0)), settings())
    assert cells.centre_mm.tolist() == [[1, 0.5], [3, 0.5], [5, 0.5], [1, 1.5], [3, 1.5], [5, 1.5]]


def test_only_cells_with_a_class_have_a_share_of_its_area() -> None:
    prob = np.array([[VIABLE, MIXED, NON_VIABLE, NONE]])
    cells = cells_of(scores(prob, 80, ood=np.array([[0, 0, FAR, 0]])), settings(max_uncertainty=1.0))
    assert cells.label.tolist() == [
        CellLabel.VIABLE,
        CellLabel.NON_TUMOUR,
        CellLabel.ABSTAINED,
        CellLabel.NONE,
    ]
    assert cells.classed.tolist() == [True, True, False, False]
    assert cells.ood.tolist() == [False, False, True, False]
    assert cells.tissue.tolist() == [80, 80, 80, 0]
    assert cells.soft == pytest.approx(np.array([[0, 0, 80], [40, 20, 20], [0, 0, 0], [0, 0, 0]]))


def test_a_cell_as_likely_tumour_as_not_is_likely_tumour() -> None:
    prob = np.array([[NON_TUMOUR, MIXED, (0.75, 0.0, 0.25), NON_VIABLE]])
    assert cells_of(scores(prob), settings()).likely_tumour.tolist() == [False, True, False, True]
