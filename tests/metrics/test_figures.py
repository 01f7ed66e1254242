from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.figures import confusion, missing_classes, tile_figures

LABELS = np.array([0, 0, 0, 1, 1, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2])
Tiles = tuple[NDArray[np.int64], NDArray[np.float64]]


@st.composite
def tiles(draw: st.DrawFn) -> Tiles:
    """Any tiles, with probabilities that often tie."""
    rows = draw(st.lists(st.tuples(st.integers(0, 2), *[st.integers(0, 6)] * 3), min_size=1, max_size=40))
    table = np.array(rows)
    parts = table[:, 1:] + 1.0
    return table[:, 0], parts / parts.sum(axis=1, keepdims=True)


def test_figures_by_hand() -> None:
    assert confusion(LABELS, PREDICTED).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert tile_figures(LABELS, one_hot(PREDICTED)) == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (2 / 3 + 1 / 2 + 1) / 3,
            "macro_f1": (4 / 5 + 2 / 4 + 2 / 3) / 3,
            "recall_non_tumour": 2 / 3,
            "recall_non_viable": 1 / 2,
            "recall_viable": 1.0,
            "auc_non_tumour": (1 + 2 / 3) / 2,
            "auc_non_viable": (1 / 2 + 3 / 4) / 2,
            "auc_viable": (1 + 4 / 5) / 2,
            "auc_macro": (5 / 6 + 5 / 8 + 9 / 10) / 3,
            "sensitivity_at_90_non_tumour": 2 / 3,
            "sensitivity_at_90_non_viable": 0.0,
            "sensitivity_at_90_viable": 0.0,
            "brier": 2 * 2 / 6,
            "ece": 1 - 4 / 6,
            "log_loss": 2 / 6 * 12 * np.log(10),
        }
    )


def test_probabilities_by_hand() -> None:
    figures = tile_figures(np.array([0, 2]), np.array([[0.5, 0.25, 0.25], [0.2, 0.0, 0.8]]), bins=1)
    assert figures["brier"] == pytest.approx((0.25 + 0.0625 * 2 + 0.04 * 2) / 2)
    assert figures["log_loss"] == pytest.approx(-(np.log(0.5) + np.log(0.8)) / 2)
    assert figures["ece"] == pytest.approx(1 - 0.65)


def test_a_class_without_tiles_has_none() -> None:
    labels = np.array([0, 0, 1])
    figures = tile_figures(labels, one_hot(np.array([0, 2, 1])))
    missing = {key for key, value in figures.items() if value is None}
    assert missing_classes(labels) == ("viable",)
    assert missing == {"recall_viable", "auc_viable", "sensitivity_at_90_viable"}
    assert figures["balanced_accuracy"] == 0.75
    assert figures["auc_macro"] == pytest.approx((0.75 + 1) / 2)


def test_a_single_class_has_no_rest() -> None:
    figures = tile_figures(np.array([1, 1]), one_hot(np.array([1, 2])))
    assert missing_classes(np.array([1, 1])) == ("non_tumour", "viable")
    assert figures["recall_non_viable"] == 0.5
    ranked = [key for key in figures if key.startswith(("auc", "sensitivity"))]
    assert len(ranked) == 7
    assert all(figures[key] is None for key in ranked)


def test_no_tiles_have_no_figures() -> None:
    with pytest.raises(ValueError, match="no tiles"):
        tile_figures(np.empty(0, int), np.empty((0, 3)))


@given(tiles())
def test_figures_stay_in_range(any_tiles: Tiles) -> None:
    figures = tile_figures(*any_tiles)
    unbounded = {"brier": 2, "log_loss": 12 * np.log(10)}
    assert all(0 <= value <= unbounded.get(key, 1) for key, value in figures.items() if value is not None)
    assert missing_classes(any_tiles[0]) == tuple(
        name for name in CLASSES if figures[f"recall_{name}"] is None
    )


@given(tiles())
def test_perfect_tiles_have_perfect_figures(any_tiles: Tiles) -> None:
    labels, _ = any_tiles
    figures = tile_figures(labels, one_hot(labels))
    assert [figures.pop(key) for key in ("brier", "ece", "log_loss")] == [0, 0, 0]
    assert set(figures.values()) - {None} == {1.0}


@given(tiles())
def test_figures_equal_those_of_scikit_learn(any_tiles: Tiles) -> None:
    labels, prob = any_tiles
    predicted, figures = prob.argmax(axis=1), tile_figures(labels, prob)
    there = np.unique(labels)
    recalls = metrics.recall_score(labels, predicted, labels=there, average=None, zero_division=0)
    expected = {
        "accuracy": metrics.accuracy_score(labels, predicted),
        "balanced_accuracy": recalls.mean(),
        "macro_f1": metrics.f1_score(labels, predicted, labels=there, average="macro", zero_division=0),
        "brier": np.mean([np.square(p - np.eye(3)[at]).sum() for at, p in zip(labels, prob, strict=True)]),
        "log_loss": metrics.log_loss(labels, prob, labels=[0, 1, 2]),
    }
    assert {key: figures[key] for key in expected} == pytest.approx(expected)


@given(tiles(), st.integers(0, 2))
def test_area_is_the_chance_of_ranking_right(any_tiles: Tiles, at: int) -> None:
    labels, prob = any_tiles
    mine, rest = prob[labels == at, at], prob[labels != at, at]
    assume(mine.size and rest.size)
    above = np.mean(mine[:, None] > rest) + np.mean(mine[:, None] == rest) / 2
    assert tile_figures(labels, prob)[f"auc_{CLASSES[at]}"] == pytest.approx(above)


@given(tiles(), st.integers(0, 2))
def test_sensitivity_is_the_best_with_a_tenth_of_false_alarms(any_tiles: Tiles, at: int) -> None:
    labels, prob = (np.repeat(part, 3, axis=0) for part in any_tiles)
    mine, rest = prob[labels == at, at], prob[labels != at, at]
    assume(mine.size and rest.size)
    allowed = [cut for cut in (*prob[:, at], 2) if 10 * np.sum(rest >= cut) <= rest.size]
    best = max(np.mean(mine >= cut) for cut in allowed)
    assert tile_figures(labels, prob)[f"sensitivity_at_90_{CLASSES[at]}"] == pytest.approx(best)


@pytest.mark.parametrize("n", [10, 30, 70, 230])
def test_a_tenth_of_false_alarms_is_allowed_exactly(n: int) -> None:
    """Tenths are no binary fractions, so 1 - 0.9 would be just below."""
    labels = np.repeat([2, 0], [2, n])
    viable = np.concatenate([[0.9, 0.5], np.full(n // 10, 0.6), np.full(n - n // 10, 0.1)])
    prob = np.stack([1 - viable, np.zeros(n + 2), viable], axis=1)
    assert tile_figures(labels, prob)["sensitivity_at_90_viable"] == 1.0
    viable[-1] = 0.7
    prob = np.stack([1 - viable, np.zeros(n + 2), viable], axis=1)
    assert tile_figures(labels, prob)["sensitivity_at_90_viable"] == 0.5
