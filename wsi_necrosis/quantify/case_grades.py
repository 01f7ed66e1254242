"""The grade of a case, or why it has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wsi_necrosis.quantify.cases import CaseNumber
from wsi_necrosis.quantify.grades import GradeScheme


@dataclass(frozen=True)
class CaseGrade:
    """A grade of a case, or "indeterminate", or None with the reason; probabilities where an interval gives them."""

    grade: str | None
    good: bool | None = None
    reason: str | None = None
    probabilities: Mapping[str, float] | None = None


def grade_of(number: CaseNumber, scheme: GradeScheme) -> CaseGrade:
    """The grade of a case's number, which is never rounded before.

    The model's own number is graded only by an interval that covers the classifier's error, and not within the limit of
    blank or of full. Labels of the case are judged by their interval. Drawn areas are graded as they are.

    Parameters
    ----------
    number : CaseNumber
        Of the case.
    scheme : GradeScheme
        Cut-offs.

    Examples
    --------
    >>> from wsi_necrosis.quantify.grades import load_scheme
    >>> drawn = CaseNumber(source="drawn", policy="tumour", estimator="drawn", definition={}, percent_viable=10.0)
    >>> grade_of(drawn, load_scheme("huvos")).grade, grade_of(drawn, load_scheme("euramos")).grade
    ('III', 'poor')
    """
    barred = _barred(number, scheme)
    if barred is not None or number.percent_viable is None:
        return CaseGrade(None, reason=f"not graded: {barred or number.reason}")
    if number.interval is None:
        grade = scheme.grade(number.percent_viable)
        return CaseGrade(grade, grade in scheme.good)
    grade = scheme.verdict(number.interval.low, number.interval.high)
    good = None if grade == "indeterminate" else grade.split(" or ")[0] in scheme.good
    draws = number.interval.draws
    return CaseGrade(grade, good, None, scheme.probabilities(draws) if len(draws) else None)


def _barred(number: CaseNumber, scheme: GradeScheme) -> str | None:
    """Why a number gets no grade; None where it may have one."""
    percent, model_alone = number.percent_viable, number.source == "model"
    if percent is None:
        return number.reason
    reasons = {
        f"{scheme.title} is of the policy {scheme.policy}, the number of {number.policy}": (
            scheme.policy != number.policy
        ),
        "the case is incomplete": bool(number.incomplete),
        "within the limit of blank": model_alone and percent <= _limit(number.limit_of_blank, -1),
        "within the limit of full": model_alone and percent >= _limit(number.limit_of_full, 101),
        "classifier error unknown for this site": model_alone and number.interval is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _limit(known: Mapping[str, float] | None, otherwise: float) -> float:
    return otherwise if known is None else known["limit"]
