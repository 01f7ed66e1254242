from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from scipy.special import softmax

from wsi_necrosis.model.calibration import Temperature, entropy

Numbers = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
VALUES = st.floats(0.2, 8.0)


def well_calibrated(seed: int, n: int = 20_000) -> tuple[Numbers, Numbers]:
    """Calibrated probabilities: labels are drawn with just these."""
    rng = np.random.default_rng(seed)
    prob = softmax(rng.normal(0, 2, (n, 3)), axis=1)
    label = (prob.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    return prob, np.eye(3)[label]


def sharpened(prob: Numbers, by: float) -> Numbers:
    return softmax(np.log(prob) * by, axis=1)


def log_loss(prob: Numbers, truth: Numbers) -> float:
    return float(-(truth * np.log(np.clip(prob, 1e-12, 1))).sum(axis=1).mean())


@pytest.mark.parametrize("by", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(by: float) -> None:
    prob, truth = well_calibrated(1)
    assert Temperature.fit(sharpened(prob, by), truth, 20.0).value == pytest.approx(by, rel=0.05)


def test_the_temperature_that_was_found_restores_the_calibrated_probabilities() -> None:
    prob, truth = well_calibrated(2)
    over = sharpened(prob, 4.0)
    np.testing.assert_allclose(Temperature.fit(over, truth, 20.0).apply(over), prob, atol=0.03)


@given(SEEDS)
def test_log_loss_never_grows_on_what_was_fitted_to(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob, truth = softmax(rng.normal(0, 3, (40, 3)), axis=1), np.eye(3)[rng.integers(3, size=40)]
    found = Temperature.fit(prob, truth, 10.0)
    assert log_loss(found.apply(prob).astype(float), truth) <= log_loss(prob, truth) + 1e-4


@given(SEEDS, st.floats(1.5, 20))
def test_temperatures_stay_within_their_bounds(seed: int, largest: float) -> None:
    rng = np.random.default_rng(seed)
    prob, truth = softmax(rng.normal(0, 9, (9, 3)), axis=1), np.eye(3)[rng.integers(3, size=9)]
    assert 1 / largest - 1e-6 <= Temperature.fit(prob, truth, largest).value <= largest + 1e-6


def test_a_largest_temperature_of_one_changes_nothing() -> None:
    prob, truth = well_calibrated(3, 50)
    assert Temperature.fit(sharpened(prob, 5), truth, 1.0) == Temperature()


def test_predictions_that_are_wrong_get_the_largest() -> None:
    prob = np.tile([0.8, 0.1, 0.1], (30, 1))
    truth = np.tile([0.0, 0.0, 1.0], (30, 1))
    assert Temperature.fit(prob, truth, 10.0).value == pytest.approx(10.0, rel=1e-3)


def test_predictions_that_are_always_right_get_the_smallest() -> None:
    prob = np.tile([0.8, 0.1, 0.1], (30, 1))
    truth = np.tile([1.0, 0.0, 0.0], (30, 1))
    assert Temperature.fit(prob, truth, 10.0).value == pytest.approx(0.1, rel=1e-3)


def test_a_mixed_tile_counts_as_half_of_each_kind() -> None:
    prob = np.array([[0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    mixed = np.array([[0.0, 0.5, 0.5], [0.0, 1.0, 0.0]])
    twice = np.array([[0, 1.0, 0], [0, 0, 1.0], [0, 1, 0], [0, 1, 0]])
    one, other = Temperature.fit(prob, mixed, 10.0), Temperature.fit(np.repeat(prob, 2, axis=0), twice, 10.0)
    assert one.value == pytest.approx(other.value, rel=1e-4)


@given(SEEDS, VALUES)
def test_no_tile_changes_its_class_and_rows_sum_to_one(seed: int, value: float) -> None:
    prob = softmax(np.random.default_rng(seed).normal(0, 2, (20, 3)), axis=1)
    calibrated = Temperature(value).apply(prob)
    assert calibrated.dtype == np.float32
    np.testing.assert_allclose(calibrated.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(calibrated.argmax(axis=1), prob.argmax(axis=1))


def test_a_temperature_of_one_changes_nothing() -> None:
    prob, _ = well_calibrated(4, 30)
    np.testing.assert_array_equal(Temperature().apply(prob.astype(np.float32)), prob.astype(np.float32))


def test_certainty_stays_finite() -> None:
    calibrated = Temperature(5.0).apply(np.array([[1.0, 0.0, 0.0]]))
    assert np.isfinite(calibrated).all()
    assert 0.5 < calibrated[0, 0] < 1


@given(st.floats(0.3, 6), st.floats(0.3, 6))
def test_larger_temperatures_soften(one: float, other: float) -> None:
    prob = np.array([[0.7, 0.2, 0.1]])
    low, high = sorted((one, other))
    assert Temperature(high).apply(prob)[0, 0] <= Temperature(low).apply(prob)[0, 0] + 1e-6


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_temperatures_out_of_range_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite and above 0"):
        Temperature(value)


def test_temperatures_come_back_from_json() -> None:
    kind = TypeAdapter(Temperature)
    assert kind.validate_json(kind.dump_json(Temperature(2.5))) == Temperature(2.5)
    with pytest.raises(ValidationError):
        kind.validate_python({"value": 1.0, "other": 2.0})


@given(hnp.arrays(np.float32, (5, 3), elements=st.floats(2**-10, 1, width=32)))
def test_entropy_is_zero_to_one(raw: Numbers) -> None:
    prob = raw / raw.sum(axis=1, keepdims=True)
    value = entropy(prob)
    assert ((value >= 0) & (value <= 1 + 1e-6)).all()


def test_entropy_of_the_extremes() -> None:
    prob = np.array([[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    np.testing.assert_allclose(entropy(prob), [0, 1], atol=1e-6)
