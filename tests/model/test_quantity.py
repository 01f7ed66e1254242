import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.model.quantity import EndOfScale, EstimatorFigures, Quantity, quantity_facts, read_quantity

PERCENT = st.floats(0, 100)
ENDS = st.none() | st.builds(EndOfScale, PERCENT, PERCENT, st.integers(2, 9))
FIGURES = st.builds(EstimatorFigures, PERCENT, st.floats(-1, 2), PERCENT, ENDS, ENDS)
QUANTITIES = st.builds(Quantity, st.sampled_from(["soft", "hard"]), FIGURES, FIGURES)


@given(st.none() | QUANTITIES)
def test_facts_give_back_what_they_were_made_of(quantity: Quantity | None) -> None:
    assert read_quantity(json.loads(json.dumps(quantity_facts(quantity), allow_nan=False))) == quantity


@given(QUANTITIES)
def test_figures_are_those_of_the_estimator_that_is_asked_for(quantity: Quantity) -> None:
    assert quantity.of("soft") is quantity.soft
    assert quantity.of("hard") is quantity.hard


@pytest.mark.parametrize("facts", [{}, [], {"estimator": "acc", "soft": None, "hard": None}, "soft"])
def test_other_facts_are_refused(facts: object) -> None:
    with pytest.raises(ValueError, match="validation error"):
        read_quantity(facts)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (EndOfScale, (-1.0, 50.0, 2)),
        (EndOfScale, (50.0, 101.0, 2)),
        (EndOfScale, (float("nan"), 50.0, 2)),
        (EndOfScale, (50.0, 50.0, 1)),
        (EstimatorFigures, (-5.0, 1.0, 0.0)),
        (EstimatorFigures, (5.0, float("inf"), 0.0)),
        (EstimatorFigures, (5.0, 1.0, float("nan"))),
    ],
)
def test_figures_out_of_range_are_refused(kind: type, values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"at least two cases|are finite"):
        kind(*values)
