from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from wsi_necrosis.metrics.cases import one_hot
from wsi_necrosis.metrics.difference import paired_difference
from wsi_necrosis.metrics.figures import TABLE_FIGURES, confusion
from wsi_necrosis.settings.evaluation import EvaluationSettings

Arrays = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


def settings(draws: int = 200, seed: int = 7, confidence: float = 0.95) -> EvaluationSettings:
    """Only what the bootstrap reads."""
    return EvaluationSettings.model_construct(bootstrap_draws=draws, seed=seed, confidence=confidence)


@st.composite
def variants(draw: st.DrawFn) -> Arrays:
    """Labels of 1 to 30 tiles, and two variants of 1 to 4 seeds."""
    n, seeds = draw(st.integers(1, 30)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    prob = rng.dirichlet((1, 1, 1), (2, seeds, n))
    return rng.integers(0, 3, n), prob[0], prob[1]


def predictions(
    rng: np.random.Generator, labels: NDArray[np.int64], right: float, shape: tuple[int, int]
) -> NDArray[np.int64]:
    """Predicted classes that are right with this probability, else either wrong one."""
    return np.where(rng.random(shape) < right, labels, (labels + rng.integers(1, 3, shape)) % 3)


@given(variants(), st.sampled_from(list(TABLE_FIGURES)))
def test_a_variant_does_not_differ_from_itself(any_variants: Arrays, metric: str) -> None:
    labels, prob, _ = any_variants
    found = paired_difference(labels, prob, prob, settings(), metric)
    assert (found.mean, found.by_tile) == (0, (0, 0))
    assert found.by_seed == (None if found.n_seeds == 1 else (0, 0))
    assert (found.n_seeds, found.n_tiles) == prob.shape[:2]


def macro_f1(labels: NDArray[np.int64], predicted: NDArray[np.int64]) -> float:
    return float(TABLE_FIGURES["macro_f1"](confusion(labels, predicted)))


@given(variants())
def test_swapped_variants_differ_by_the_opposite(any_variants: Arrays) -> None:
    labels, prob_a, prob_b = any_variants
    found = paired_difference(labels, prob_a, prob_b, settings())
    swapped = paired_difference(labels, prob_b, prob_a, settings())
    assert found.mean == -swapped.mean
    assert found.by_tile == pytest.approx((-swapped.by_tile[1], -swapped.by_tile[0]))
    if found.by_seed is not None and swapped.by_seed is not None:
        assert found.by_seed == pytest.approx((-swapped.by_seed[1], -swapped.by_seed[0]))


@given(variants())
def test_the_mean_is_that_of_the_figures(any_variants: Arrays) -> None:
    labels, *both = any_variants
    of_a, of_b = (np.mean([macro_f1(labels, prob.argmax(axis=1)) for prob in variant]) for variant in both)
    assert paired_difference(labels, *both, settings()).mean == pytest.approx(of_a - of_b)


def test_seeds_by_hand() -> None:
    """Differences of 1/4 and 3/4: t of 1 degree of freedom at 95 % is 12.706, the error of the mean 1/4."""
    labels = np.array([0, 1, 2, 2])
    prob_b = one_hot(np.array([[0, 1, 2, 0], [0, 0, 0, 0]]))
    found = paired_difference(labels, one_hot(np.stack([labels] * 2)), prob_b, settings(), "accuracy")
    assert found.mean == 0.5
    assert found.by_seed == pytest.approx((0.5 - 12.7062 / 4, 0.5 + 12.7062 / 4), abs=1e-4)


def test_tiles_by_hand() -> None:
    """A is right on all tiles, B on one of two: a draw holds that one 0, 1 or 2 times."""
    labels = np.array([1, 1])
    prob_a, prob_b = one_hot(labels)[None], one_hot(np.array([1, 0]))[None]
    found = paired_difference(labels, prob_a, prob_b, settings(2000), "accuracy")
    half = paired_difference(labels, prob_a, prob_b, settings(2000, confidence=0.4), "accuracy")
    assert (found.by_seed, found.mean, found.by_tile) == (None, 0.5, (0.0, 1.0))
    assert half == replace(found, by_tile=(0.5, 0.5), confidence=0.4)


@given(variants())
def test_draws_keep_every_class(any_variants: Arrays) -> None:
    """A class of one tile is in every draw, so a variant that never finds it never reaches 1."""
    _, prob, _ = any_variants
    labels = np.append(np.zeros(prob.shape[1] - 1, int), 2)
    never, always = one_hot(np.zeros(prob.shape[:2], int)), one_hot(np.tile(labels, (len(prob), 1)))
    found = paired_difference(labels, always, never, settings(), "balanced_accuracy")
    assert found.by_tile == pytest.approx((found.mean, found.mean))
    assert found.mean == (1 if len(labels) == 1 else 0.5)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Independent tiles and one seed, for which the interval over tiles is valid."""
    rng = np.random.default_rng(0)
    labels, runs, right = np.repeat([0, 1, 2], 40), 300, (0.8, 0.65)
    many = np.repeat([0, 1, 2], 200_000)
    of_a, of_b = (macro_f1(many, predictions(rng, many, share, many.shape)) for share in right)
    covered = 0
    for seed in range(runs):
        prob_a, prob_b = (one_hot(predictions(rng, labels, share, (1, labels.size))) for share in right)
        low, high = paired_difference(labels, prob_a, prob_b, settings(seed=seed)).by_tile
        covered += low <= of_a - of_b <= high
    assert 0.90 <= covered / runs <= 0.98


def test_thousands_of_draws_take_less_than_a_second() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 16)
    prob_a, prob_b = rng.dirichlet((1, 1, 1), (2, 5, 48))
    start = time.process_time()
    paired_difference(labels, prob_a, prob_b, settings(2000))
    assert time.process_time() - start < 1


def test_a_draw_is_the_table_of_its_tiles() -> None:
    """The figures take a stack of tables as they take one."""
    rng = np.random.default_rng(2)
    tables = np.stack([confusion(*rng.integers(0, 3, (2, 9))) for _ in range(6)])
    for figure in TABLE_FIGURES.values():
        assert figure(tables.reshape(2, 3, 3, 3)).ravel().tolist() == [float(figure(t)) for t in tables]


def test_what_does_not_fit_is_refused() -> None:
    labels, prob = np.array([0, 1]), np.ones((3, 2, 3))
    with pytest.raises(ValueError, match="macro_f1"):
        paired_difference(labels, prob, prob, settings(), "auc_macro")
    with pytest.raises(ValueError, match="not \\(seeds, 2, 3\\)"):
        paired_difference(labels, prob, prob[:2], settings())
