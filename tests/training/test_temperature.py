from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.training_tiles import in_case, relabelled, tiny
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.training.samples import Samples
from wsi_necrosis.training.temperature import calibrate_nested, fit_temperature

CALIBRATION = tiny("calibration.few_cases=0").calibration


def test_temperatures_are_of_all_predictions_together(samples: Samples) -> None:
    prob = np.random.default_rng(2).dirichlet((0.5, 0.5, 0.5), (3, len(samples)))
    found = fit_temperature(prob, samples.truth, 3, CALIBRATION)
    assert found == Temperature.fit(
        np.concatenate(list(prob)), np.concatenate([samples.truth] * 3), CALIBRATION.max_temperature, 3
    )
    assert found == Temperature.fit(
        prob.reshape(-1, 3), np.tile(samples.truth, (3, 1)), CALIBRATION.max_temperature, 3
    )


@given(case=st.sampled_from("ABC"), seed=st.integers(0, 100))
def test_a_case_is_calibrated_by_the_others_alone(samples: Samples, case: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob = 0.7 * rng.dirichlet((0.5, 0.5, 0.5), (2, len(samples))) + 0.3 * samples.truth
    found = calibrate_nested(prob, samples, CALIBRATION)
    rows = in_case(samples, case)
    temperature = fit_temperature(prob[:, ~rows], samples.truth[~rows], 2, CALIBRATION)
    np.testing.assert_array_equal(found[0, rows], temperature.apply(prob[0, rows]))
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)
    # its own labels and predictions change the others' temperatures, not its own
    other = prob.copy()
    other[:, rows] = other[:, rows][..., [1, 2, 0]]
    after = calibrate_nested(other, relabelled(samples, case), CALIBRATION)
    np.testing.assert_array_equal(after[1, rows], temperature.apply(other[1, rows]))
    assert not np.array_equal(after[:, ~rows], found[:, ~rows])


def test_calibrating_predictions_that_are_right_sharpens_and_wrong_ones_softens(samples: Samples) -> None:
    confident = np.eye(3)[samples.truth.argmax(axis=1)] * 0.7 + 0.1
    right = calibrate_nested(confident[None], samples, CALIBRATION)[0]
    wrong = calibrate_nested(
        confident[None], relabelled(relabelled(relabelled(samples, "A"), "B"), "C"), CALIBRATION
    )[0]
    assert right.max(axis=1).min() > 0.8
    assert wrong.max(axis=1).max() < 0.8


@pytest.mark.parametrize(("cases", "bound"), [(1, 3.0), (9, 3.0), (10, 10.0), (40, 10.0)])
def test_with_few_cases_the_bound_is_lower(cases: int, bound: float, samples: Samples) -> None:
    """Confident predictions that are all wrong want as high a temperature as there is."""
    settings = load_train_settings().calibration
    wrong = np.eye(3)[(samples.truth.argmax(axis=1) + 1) % 3] * 0.97 + 0.01
    found = fit_temperature(wrong[None], samples.truth, cases, settings)
    assert found.cases == cases
    assert found.value == pytest.approx(bound, rel=1e-3)


def test_the_nested_temperature_has_the_bound_of_few_cases(samples: Samples) -> None:
    wrong = np.eye(3)[(samples.truth.argmax(axis=1) + 1) % 3] * 0.97 + 0.01
    found = calibrate_nested(wrong[None], samples, load_train_settings().calibration)[0]
    np.testing.assert_allclose(found, Temperature(3.0).apply(wrong), atol=1e-3)
