from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.curves import reliability, roc_curve


@st.composite
def scored(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Tiles of both kinds, with scores that often tie."""
    tiles = draw(st.lists(st.tuples(st.booleans(), st.integers(-8, 8)), max_size=40))
    tiles += draw(st.permutations([(True, draw(st.integers(-8, 8))), (False, draw(st.integers(-8, 8)))]))
    positive, score = zip(*tiles, strict=True)
    return np.array(positive), np.array(score) / 8


@given(scored())
def test_a_point_for_each_threshold(tiles: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    """Above the highest score nothing passes; then a point for each score that occurs, from the highest down."""
    positive, score = tiles
    passed = [score >= threshold for threshold in (np.inf, *np.unique(score)[::-1])]
    false_positive_rate, sensitivity = roc_curve(positive, score)
    np.testing.assert_allclose(false_positive_rate, [some[~positive].mean() for some in passed])
    np.testing.assert_allclose(sensitivity, [some[positive].mean() for some in passed])


@given(scored(), st.sampled_from([np.exp, np.cbrt, lambda x: x**3, lambda x: 7 * x - 2]))
def test_a_curve_does_not_depend_on_the_scale_of_scores(
    tiles: tuple[NDArray[np.bool_], NDArray[np.float64]], rising: np.ufunc
) -> None:
    positive, score = tiles
    np.testing.assert_array_equal(roc_curve(positive, rising(score)), roc_curve(positive, score))


@pytest.mark.parametrize("positive", [[True, True], [False, False]])
def test_a_curve_needs_both_kinds(positive: list[bool]) -> None:
    with pytest.raises(ValueError, match="needs both kinds"):
        roc_curve(np.array(positive), np.array([0.1, 0.2]))


def test_reliability_by_hand() -> None:
    prob = np.array([[0.4, 0.3, 0.3], [0.5, 0.5, 0.0], [0.1, 0.1, 0.8], [0.0, 1.0, 0.0]])
    found = reliability(np.array([0, 1, 2, 1]), prob, bins=2)
    assert found.confidence == pytest.approx([0.45, 0.9])
    assert found.accuracy.tolist() == [0.5, 1.0]
    assert found.count.tolist() == [2, 2]
    assert found.ece == pytest.approx((0.05 + 0.1) / 2)


@given(st.integers(1, 12), st.integers(1, 60), st.integers(0, 99))
def test_bins_are_of_equal_count(bins: int, n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = reliability(rng.integers(0, 3, n), rng.dirichlet((1, 1, 1), n), bins)
    assert found.count.sum() == n
    assert len(found.count) == min(bins, n)
    assert np.ptp(found.count) <= 1
    assert (np.diff(found.confidence) > 0).all()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(3, 6)), min_size=1, max_size=30), st.randoms())
def test_the_order_of_tiles_does_not_matter(tiles: list[tuple[int, int]], random: Random) -> None:
    def found(tiles: list[tuple[int, int]]) -> tuple[list[float], list[float]]:
        labels, tenths = np.array(tiles).T
        prob = np.stack([tenths / 10, (1 - tenths / 10) * 0.4, (1 - tenths / 10) * 0.6], axis=1)
        bins = reliability(labels, prob, bins=5)
        return bins.accuracy.tolist(), bins.count.tolist()

    shuffled = tiles.copy()
    random.shuffle(shuffled)
    assert found(shuffled) == found(tiles)


def test_tiles_of_equal_confidence_share_a_bin() -> None:
    found = reliability(np.array([0, 1, 2, 0]), one_hot(np.array([0, 1, 2, 1])), bins=4)
    assert (found.confidence.tolist(), found.accuracy.tolist(), found.count.tolist()) == ([1], [0.75], [4])
