"""Decision and warnings; `measure` says what is not evaluable for it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.complete_scores import FAR, NON_TUMOUR, NON_VIABLE, NONE, SHIPPED, VIABLE, scores, settings
from wsi_necrosis.model.quantity import EndOfScale, EstimatorFigures
from wsi_necrosis.quantify.cells import cells_of
from wsi_necrosis.quantify.doubt import Decision, ResultWarning, decision_of, doubts
from wsi_necrosis.quantify.percentage import measure

SURE = Decision(0.9, 0.2)
FIGURES = EstimatorFigures(25.0, 0.6, 20.0, EndOfScale(21.0, 38.0, 2), EndOfScale(88.0, 70.0, 3))
GUESS = (1 / 3, 1 / 3, 1 / 3)


def said(percent: float, figures: EstimatorFigures | None = None, decision: Decision = SURE) -> list[str]:
    return [
        each.code
        for each in doubts({"soft": percent, "by_class": percent}, "soft", figures, decision, SHIPPED)
    ]


def test_the_decision_is_a_mean_over_tissue() -> None:
    cells = cells_of(scores(np.array([[VIABLE, GUESS, NONE]]), np.array([[300, 100, 0]])), SHIPPED)
    assert decision_of(cells) == Decision(pytest.approx(0.75 + 0.25 / 3), pytest.approx(0.25))


def test_tissue_unlike_the_training_tiles_decides_nothing_unless_there_is_no_other() -> None:
    prob = np.array([[VIABLE, GUESS]])
    mixed = decision_of(cells_of(scores(prob, ood=np.array([[0, FAR]])), SHIPPED))
    alone = decision_of(cells_of(scores(prob[:, 1:], ood=FAR), SHIPPED))
    assert mixed == Decision(1.0, pytest.approx(0, abs=1e-9))
    assert alone == Decision(pytest.approx(1 / 3), pytest.approx(1))


def test_cells_that_abstain_as_uncertain_count_in_the_decision() -> None:
    store = scores(np.array([[VIABLE, GUESS]]))
    strict = settings(max_uncertainty=0.5)
    assert decision_of(cells_of(store, strict)) == decision_of(cells_of(store, SHIPPED))


def test_no_tissue_gives_no_decision() -> None:
    score = measure(scores(np.full((2, 2, 3), np.nan)), SHIPPED)
    assert (score.decision, score.warnings, score.to_dict()["decision"]) == (None, (), None)


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        (Decision(0.85, 0.40), []),
        (Decision(0.84, 0.40), ["undecided"]),
        (Decision(0.85, 0.41), ["undecided"]),
        (Decision(0.34, 0.99), ["undecided"]),
    ],
)
def test_a_guess_is_undecided(decision: Decision, expected: list[str]) -> None:
    assert said(50.0, decision=decision) == expected


@pytest.mark.parametrize(
    ("percent", "expected"),
    [
        (0.0, ["within_limit_of_blank"]),
        (38.0, ["within_limit_of_blank"]),
        (38.1, []),
        (69.9, []),
        (70.0, ["within_limit_of_full"]),
    ],
)
def test_a_number_within_a_limit_is_warned_of(percent: float, expected: list[str]) -> None:
    assert said(percent, FIGURES) == expected
    assert said(percent) == []  # limits that are not known warn of nothing


@given(st.floats(0, 100), st.floats(0, 100))
def test_estimators_that_differ_are_warned_of_whichever_leads(soft: float, hard: float) -> None:
    for leads in ("soft", "by_class"):
        found = [each.code for each in doubts({"soft": soft, "by_class": hard}, leads, None, SURE, SHIPPED)]
        assert found == (["estimators_differ"] if abs(soft - hard) > 10 else [])


def test_warnings_name_their_numbers() -> None:
    (warning,) = doubts({"soft": 26.04, "by_class": 6.0}, "by_class", None, SURE, SHIPPED)
    assert warning == ResultWarning(
        "estimators_differ",
        "percent viable is 26.0 by probability and 6.0 by class: more than 10 points apart",
    )


def test_limits_are_judged_by_the_number_that_leads() -> None:
    percents = {"soft": 45.0, "by_class": 36.0}
    assert [each.code for each in doubts(percents, "soft", FIGURES, SURE, SHIPPED)] == []
    assert [each.code for each in doubts(percents, "by_class", FIGURES, SURE, SHIPPED)] == [
        "within_limit_of_blank"
    ]


def test_a_slide_of_guesses_is_not_evaluable_and_warned_of() -> None:
    prob = np.full((40, 40, 3), (0.2, 0.37, 0.43))
    score = measure(scores(prob), SHIPPED)
    assert (score.status, score.reason, score.percent_viable) == ("not_evaluable", "undecided", None)
    assert [each.code for each in score.warnings] == ["undecided"]
    assert measure(scores(prob), settings(not_evaluable_top_prob=0.0)).status == "scored"


def test_undecided_comes_after_out_of_domain_and_before_too_little_tumour() -> None:
    unlike = scores(np.array([[GUESS, NON_TUMOUR]]), ood=np.array([[0, FAR]]))
    little = scores(np.array([[GUESS, GUESS]]))
    assert measure(unlike, settings(max_ood_share=0.4)).reason == "out_of_domain"
    assert measure(little, SHIPPED).reason == "undecided"


def test_a_decided_slide_has_no_warning() -> None:
    prob = np.array([[VIABLE, NON_VIABLE, NON_TUMOUR]])
    assert measure(scores(prob, 2000), SHIPPED).warnings == ()
