from __future__ import annotations

from dataclasses import replace

import pytest

from wsi_necrosis.quantify.case_grades import grade_of
from wsi_necrosis.quantify.cases import CaseInterval, CaseNumber
from wsi_necrosis.quantify.grades import load_scheme

HUVOS = load_scheme("huvos")
NUMBER = CaseNumber(
    source="review", status="scored", policy="tumour", estimator="labels", definition={}, percent_viable=5.0
)


def within(low: float, high: float, **changes: object) -> CaseNumber:
    interval = CaseInterval(low, high, 0.95, "t", "m", "c", draws=[low, high, (low + high) / 2])
    return replace(NUMBER, interval=interval, **changes)


def test_labels_are_judged_by_their_interval() -> None:
    good = grade_of(within(0, 6), HUVOS)
    assert (good.grade, good.good) == ("III or IV", True)
    assert good.probabilities == {"I": 0, "II": 0, "III or IV": 1}
    crossing = grade_of(within(4, 16), HUVOS)
    assert (crossing.grade, crossing.good) == ("indeterminate", None)
    assert crossing.probabilities is not None
    assert crossing.probabilities["II"] == pytest.approx(1 / 3)


def test_the_limit_of_blank_bars_the_models_own_number_alone() -> None:
    blank = {"mean": 10.0, "limit": 38.0, "cases": 2}
    own = within(2, 6, source="model", limit_of_blank=blank)
    assert grade_of(own, HUVOS).reason == "not graded: within the limit of blank"
    assert grade_of(replace(own, limit_of_blank=None), HUVOS).grade == "III"
    assert grade_of(replace(own, source="review"), HUVOS).grade == "III"
    full = replace(own, limit_of_blank=None, limit_of_full={"limit": 4.0})
    assert grade_of(full, HUVOS).reason == "not graded: within the limit of full"


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (replace(NUMBER, source="model"), "classifier error unknown for this site"),
        (within(0, 6, incomplete={"a": "failed"}), "the case is incomplete"),
        (within(0, 6, policy="tumour_bed"), "Huvos is of the policy tumour, the number of tumour_bed"),
        (replace(NUMBER, percent_viable=None, reason="too little tumour"), "too little tumour"),
    ],
)
def test_what_bars_a_grade_is_said(number: CaseNumber, reason: str) -> None:
    found = grade_of(number, HUVOS)
    assert (found.grade, found.reason) == (None, f"not graded: {reason}")


@pytest.mark.parametrize(("viable", "grade"), [(0.0, "IV"), (10.0, "III"), (10.05, "II"), (50.01, "I")])
def test_drawn_areas_are_graded_as_they_are(viable: float, grade: str) -> None:
    found = grade_of(replace(NUMBER, source="drawn", percent_viable=viable), HUVOS)
    assert (found.grade, found.good, found.probabilities) == (grade, grade in {"III", "IV"}, None)
