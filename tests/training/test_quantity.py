from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.samples import N, V, X, samples
from wsi_necrosis.model.quantity import EndOfScale
from wsi_necrosis.training.quantity import measure_quantity
from wsi_necrosis.training.samples import Samples

TCIA = (("3", N), ("3", X), ("4", N), ("4", X), ("4", V), ("48", N), ("48", V), ("9", N))


def some() -> Samples:
    return samples(*TCIA, crops=4)


def sure(of: Samples, share: float) -> np.ndarray:
    """Probabilities that give the true class this share, and the others the rest."""
    rest = (1 - share) / 2
    return (of.truth * (share - rest) + rest)[None]


def test_right_but_unsure_predictions_are_counted() -> None:
    found = measure_quantity(some(), sure(some(), 0.6), 1)
    assert found.quantity is not None
    assert found.quantity.estimator == "hard"
    hard, soft = found.quantity.hard, found.quantity.soft
    assert (hard.rmse, hard.slope, hard.intercept) == (0, 1, 0)
    assert hard.blank == EndOfScale(0, 0, 2)
    assert hard.full == EndOfScale(100, 100, 2)
    assert soft.blank is not None
    assert soft.rmse > 15
    assert soft.slope < 0.6
    # 225 cells of .6 non-viable and .2 viable, 75 of .2 and .2
    assert soft.blank.mean == pytest.approx(100 * 60 / (60 + 150), abs=0.01)


def test_predictions_that_are_wrong_where_they_are_unsure_are_summed() -> None:
    """Half of the crops of a class are just wrong: counted, they are as good as the sure ones."""
    of = some()
    odd = np.arange(len(of)) % 2 == 1
    swapped = of.truth[:, [N, V, X]]
    prob = np.where(odd[:, None], 0.49 * of.truth + 0.51 * swapped, 0.9 * of.truth + 0.1 * swapped)
    found = measure_quantity(of, prob[None], 1).quantity
    assert found is not None
    assert found.estimator == "soft"
    assert found.soft.rmse < found.hard.rmse - 5


def test_figures_are_by_group_scene_and_case_at_the_ends() -> None:
    found = measure_quantity(some(), sure(some(), 0.6), 1)
    figures, quantity = found.figures, found.quantity
    assert quantity is not None
    assert list(figures["by_group"]) == ["4", "3", "48", "3 x 48"]
    assert figures["rmse"] == {"soft": quantity.soft.rmse, "hard": quantity.hard.rmse}
    assert [scene["true"] for scene in figures["scenes"] if scene["group"] == "4"] == [
        0, pytest.approx(10, abs=0.3), pytest.approx(30, abs=0.3), pytest.approx(50, abs=0.3),
        pytest.approx(70, abs=0.3), pytest.approx(90, abs=0.3), 100,
    ]  # fmt: skip
    assert set(figures["ends"]["blank"]) == {"3", "4"}
    assert set(figures["ends"]["full"]) == {"4", "48"}
    assert figures["ends"]["full"]["48"]["hard"] == {"mean": 100, "limit": 100}


def test_the_limit_is_that_of_the_worst_case_and_the_mean_that_of_all() -> None:
    of = some()
    prob = sure(of, 1.0)
    rows = np.flatnonzero((of.truth[:, X] == 1) & (of.rows([of.tiles[3]])))
    prob[0, rows[0]] = [0, 0, 1]  # one of four non-viable crops of case 4 is taken for viable
    found = measure_quantity(of, prob, 1).quantity
    assert found is not None
    assert found.hard.blank is not None
    assert found.hard.blank.mean == pytest.approx((0 + 25) / 2, abs=0.3)
    assert 28 < found.hard.blank.limit < 32


def test_one_case_at_an_end_is_not_enough() -> None:
    of = samples(("3", N), ("3", X), ("48", N), ("48", V))
    found = measure_quantity(of, sure(of, 0.9), 1).quantity
    assert found is not None
    assert (found.soft.blank, found.hard.full) == (None, None)
    assert found.hard.rmse == 0


@pytest.mark.parametrize(
    "labels", [(("a", N), ("b", N)), (("a", X), ("b", X), ("b", N)), (("a", V), ("b", N))]
)
def test_without_both_kinds_of_tumour_nothing_is_known(labels: tuple[tuple[str, int], ...]) -> None:
    of = samples(*labels)
    found = measure_quantity(of, sure(of, 0.9), 1)
    assert (found.quantity, found.figures) == (None, {})


def test_mixed_tiles_take_no_part() -> None:
    of = samples(*TCIA, ("3", None), crops=4)
    prob = np.concatenate([sure(some(), 0.7), np.tile([[[0.0, 0.0, 1.0]]], (1, 4, 1))], axis=1)
    assert measure_quantity(of, prob, 1) == measure_quantity(some(), sure(some(), 0.7), 1)


def test_slides_do_not_depend_on_the_predictions() -> None:
    """Two ways of making a model are compared on the same slides; other seeds draw others."""
    rng = np.random.default_rng(4)
    prob = rng.dirichlet((1, 1, 1), (2, len(some())))
    one = measure_quantity(some(), prob, 1)
    assert one == measure_quantity(replace(some()), prob.copy(), 1)
    assert one != measure_quantity(some(), prob, 2)


def test_a_whole_data_set_takes_seconds() -> None:
    of = samples(*[(case, label) for case, label in TCIA for _ in range(60)], crops=9)
    prob = np.random.default_rng(4).dirichlet((1, 1, 1), (5, len(of)))
    start = time.process_time()
    assert measure_quantity(of, prob, 1).quantity is not None
    assert time.process_time() - start < 20


def test_errors_on_ten_cases_with_both_kinds_of_tumour_are_kept() -> None:
    of = samples(*((str(case), label) for case in range(10) for label in (X, V)), ("9", N), crops=2)
    found = measure_quantity(of, sure(of, 0.6), 1).quantity
    assert found is not None
    assert len(found.hard.patients) == len(found.soft.patients) == 10
    assert found.hard.patients[0] == ((1, 0, 0), (0, 1, 0), (0, 0, 1))
    assert found.soft.patients[0] == ((0.6, 0.2, 0.2), (0.2, 0.6, 0.2), (0.2, 0.2, 0.6))
    few = measure_quantity(some(), sure(some(), 0.6), 1).quantity
    assert few is not None
    assert few.hard.patients == ()
