from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.simulation import (
    Cells,
    Scene,
    Simulation,
    end_by_case,
    scenes_of,
    simulate,
    simulate_end,
)

N, X, V = range(3)
TCIA = {"Case-3": (N, X), "Case-4": (N, X, V), "Case-48": (N, V), "P9": (N,)}


def cells(prob: NDArray[np.float64] | None = None, each: int = 2, **cases: Sequence[int]) -> Cells:
    """So many crops of each of these classes in each case; predicted as they are unless told otherwise."""
    pairs = [(case, label) for case, labels in cases.items() for label in labels for _ in range(each)]
    labels = np.array([label for _, label in pairs])
    right = one_hot(labels)[None]
    return Cells(labels, np.array([case for case, _ in pairs]), right if prob is None else prob)


def tcia(each: int = 2) -> Cells:
    return cells(each=each, **TCIA)


def test_the_tcia_cases_give_four_groups() -> None:
    found = Counter(scene.group for scene in scenes_of(tcia()))
    assert found == {"Case-4": 7, "Case-3": 1, "Case-48": 1, "Case-3 x Case-48": 5}
    at = {group: [scene.percent for scene in scenes_of(tcia()) if scene.group == group] for group in found}
    assert at == {
        "Case-4": [0, 10, 30, 50, 70, 90, 100],
        "Case-3": [0],
        "Case-48": [100],
        "Case-3 x Case-48": [10, 30, 50, 70, 90],
    }


def test_every_pair_of_single_kinds_has_scenes() -> None:
    found = {scene.group for scene in scenes_of(cells(a=(X,), b=(X,), c=(V,), d=(V,)))}
    assert found == {"a", "b", "c", "d", "a x c", "a x d", "b x c", "b x d"}


def test_cases_without_tumour_have_no_scene() -> None:
    assert scenes_of(cells(a=(N,), b=(N,))) == ()


@given(percent=st.integers(0, 100))
def test_a_quarter_of_300_cells_is_not_tumour(percent: int) -> None:
    scene = Scene(("a",), percent)
    other, gone, viable = scene.counts
    assert (other, other + gone + viable) == (75, 300)
    assert scene.true == pytest.approx(percent, abs=0.25)
    assert scene.true == 100 * viable / (gone + viable)


def test_right_predictions_have_no_error() -> None:
    some = tcia()
    found = simulate(some, scenes_of(some), np.random.default_rng(1))
    for way in ("soft", "hard"):
        assert found.found[way].shape == (14, 20)
        assert found.rmse(way) == pytest.approx(0, abs=1e-9)
        assert found.bias(way) == pytest.approx(0, abs=1e-9)
        assert found.line(way) == pytest.approx((1, 0), abs=1e-9)


def test_soft_sums_probabilities_and_hard_counts_the_likeliest() -> None:
    """Every crop has .75 of its own class of tumour: soft is pulled towards the middle, hard is right."""
    labels = np.array([X, V, N])
    prob = np.array([[0, 0.75, 0.25], [0, 0.25, 0.75], [1, 0, 0]])[None]
    found = simulate(
        Cells(labels, np.array(["a"] * 3), prob), [Scene(("a",), 0), Scene(("a",), 100)],
        np.random.default_rng(1), draws=3,
    )  # fmt: skip
    np.testing.assert_allclose(found.found["soft"], [[25] * 3, [75] * 3])
    np.testing.assert_allclose(found.found["hard"], [[0] * 3, [100] * 3])
    assert found.rmse("soft") == pytest.approx(25)
    assert found.bias("soft") == pytest.approx(0)
    assert found.line("soft") == pytest.approx((0.5, 25))


def test_non_tumour_is_that_of_the_scene_where_it_has_some_and_else_of_all() -> None:
    """Non-tumour of b is taken for viable. `a` and `c` have none, so that b's is drawn; `d` has its own."""
    labels = np.array([X, N, V, X, N])
    cases = np.array(["a", "b", "c", "d", "d"])
    prob = one_hot(np.array([X, V, V, X, N]))[None]
    scenes = [Scene(("a",), 0), Scene(("d",), 0), Scene(("a", "c"), 50)]
    found = simulate(Cells(labels, cases, prob), scenes, np.random.default_rng(1), draws=200)
    borrowed, own, pair = found.found["hard"].mean(axis=1)
    assert own == 0
    assert borrowed == pytest.approx(100 * 37.5 / 262.5, abs=1)  # half of the 75 cells are b's
    assert pair == pytest.approx((112 + 37.5) / (225 + 37.5) * 100, abs=1)


def test_without_non_tumour_slides_are_tumour_alone() -> None:
    some = cells(a=(X, V))
    found = simulate(some, scenes_of(some), np.random.default_rng(1))
    assert found.rmse("soft") == pytest.approx(0, abs=1e-9)


def test_slides_without_predicted_tumour_read_the_far_end() -> None:
    prob = np.tile([[1.0, 0, 0]], (1, 4, 1))
    some = cells(prob=prob, each=1, a=(X, V), b=(X, V))
    found = simulate(some, [Scene(("a",), 10), Scene(("a",), 90)], np.random.default_rng(1))
    np.testing.assert_array_equal(found.found["hard"].mean(axis=1), [100, 0])


def test_every_model_sees_the_same_slides_and_has_readings_of_its_own() -> None:
    rng = np.random.default_rng(5)
    prob = rng.dirichlet((1, 1, 1), (2, len(tcia().labels)))
    both = cells(prob=np.stack([prob[0], prob[0], prob[1]]), **TCIA)
    found = simulate(both, scenes_of(both), np.random.default_rng(3)).found["soft"].reshape(14, 3, 20)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    alone = cells(prob=prob[1:], **TCIA)
    again = simulate(alone, scenes_of(alone), np.random.default_rng(3)).found["soft"]
    np.testing.assert_array_equal(found[:, 2], again)


def test_slides_vary_as_draws_of_225_cells_do() -> None:
    """Of two crops of a class one is taken for the other class: a hard reading is binomial."""
    prob = one_hot(np.array([X, V]))[None]
    some = Cells(np.array([X, X]), np.array(["a", "a"]), prob)
    found = simulate(some, [Scene(("a",), 0)], np.random.default_rng(2), draws=4000).found["hard"]
    assert found.mean() == pytest.approx(50, abs=0.3)
    assert found.std() == pytest.approx(100 * np.sqrt(0.25 / 225), rel=0.05)


def test_groups_are_judged_apart() -> None:
    scenes = (Scene(("a",), 0), Scene(("b",), 100))
    found = Simulation(scenes, {"soft": np.array([[3.0, 3.0], [90.0, 90.0]])})
    assert found.groups == ("a", "b")
    assert (found.rmse("soft", "a"), found.rmse("soft", "b")) == pytest.approx((3, 10))
    assert found.rmse("soft") == pytest.approx(np.sqrt((9 + 100) / 2))
    assert found.bias("soft") == pytest.approx(-3.5)


def test_ends_are_of_every_case_that_holds_the_kind() -> None:
    some = tcia()
    blank = simulate_end(some, 0, np.random.default_rng(1), draws=10)
    full = simulate_end(some, 100, np.random.default_rng(1), draws=10)
    assert end_by_case(blank, "soft") == {"Case-3": (0, 0), "Case-4": (0, 0)}
    assert end_by_case(full, "hard") == {"Case-4": (100, 100), "Case-48": (100, 100)}


def test_limits_lie_on_the_far_side() -> None:
    readings = np.arange(101.0)[None]
    for percent, limit in ((0, 95), (100, 5)):
        end = Simulation((Scene(("a",), percent),), {"soft": readings})
        assert end_by_case(end, "soft") == {"a": (50, limit)}


def test_equal_seeds_give_equal_slides() -> None:
    prob = np.random.default_rng(5).dirichlet((1, 1, 1), (1, len(tcia().labels)))
    some = cells(prob=prob, **TCIA)
    one, same, other = (
        simulate(some, scenes_of(some), np.random.default_rng(seed)).found["soft"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
