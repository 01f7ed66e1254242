"""The temperature of single tiles, from predictions for left-out cases.

It serves the uncertainty of tiles alone: what is summed into percent viable is never scaled (`training.quantity`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.dataset.tiles import leave_case_out
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.settings.train import CalibrationSettings
from wsi_necrosis.training.samples import Samples


def fit_temperature(
    prob: NDArray[np.float64], truth: NDArray[np.float64], cases: int, settings: CalibrationSettings
) -> Temperature:
    """The temperature for held-out probabilities (k, m, 3) of crops of so many cases, whose truth is (m, 3).

    With few cases, one of them may decide it alone, and its bound is lower.
    """
    few = cases < settings.few_cases
    largest = settings.max_temperature_few_cases if few else settings.max_temperature
    pooled = prob.reshape(-1, prob.shape[-1])
    return Temperature.fit(pooled, np.tile(truth, (len(prob), 1)), largest, cases)


def calibrate_nested(
    prob: NDArray[np.float64], samples: Samples, settings: CalibrationSettings
) -> NDArray[np.float64]:
    """Probabilities (k, m, 3) of each case, calibrated by a temperature fitted on the other cases.

    This estimates the calibration for a new case; on the predictions that a temperature was fitted to, figures
    would be too good.
    """
    calibrated = np.empty_like(prob)
    folds = leave_case_out(samples.tiles)
    for fold in folds:
        rows = samples.rows(fold.test)
        temperature = fit_temperature(prob[:, ~rows], samples.truth[~rows], len(folds) - 1, settings)
        calibrated[:, rows] = [temperature.apply(some) for some in prob[:, rows]]
    return calibrated
