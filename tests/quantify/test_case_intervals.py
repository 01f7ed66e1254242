from __future__ import annotations

import numpy as np
import pytest

from wsi_necrosis.quantify.case_intervals import Bootstrap, CaseInterval, interval_over_slides

SLIDES = np.random.default_rng(0).gamma(2, 3, (8, 3))
HOW = Bootstrap(0.95, 500, 1)


def test_five_slides_and_more_have_an_interval_of_sampling() -> None:
    found = interval_over_slides(SLIDES.tolist(), HOW)
    assert isinstance(found, CaseInterval)
    percent = 100 * SLIDES[:, 2].sum() / SLIDES[:, 1:].sum()
    assert 0 <= found.low < percent < found.high <= 100
    assert not found.covers_classifier
    again = interval_over_slides(SLIDES.tolist(), HOW)
    assert again == found


def test_errors_on_patients_make_it_that_of_the_percentage() -> None:
    shares = tuple(
        ((0.9, 0.05, 0.05), (0.1, 0.8, 0.1), (0.1, x, 0.9 - x)) for x in np.linspace(0.02, 0.2, 10).tolist()
    )
    found = interval_over_slides(SLIDES.tolist(), Bootstrap(0.95, 500, 1, shares))
    assert isinstance(found, CaseInterval)
    assert found.covers_classifier
    assert "10 calibration patients" in found.covers


@pytest.mark.parametrize(
    ("areas", "said"),
    [
        (SLIDES[:4], "fewer than 5 slides"),
        (SLIDES * [1, 1, 0], "fewer than two slides hold viable tumour"),
        (SLIDES * [1, 0, 1], "fewer than two slides hold non-viable tumour"),
    ],
)
def test_without_enough_slides_there_is_none(areas: np.ndarray, said: str) -> None:
    assert said in str(interval_over_slides(areas.tolist(), HOW))
