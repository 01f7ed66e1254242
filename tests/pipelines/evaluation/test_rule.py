from __future__ import annotations

from typing import Any

import pytest

from wsi_necrosis.pipelines.evaluation.rule import choose, chosen_of, leading_rmse
from wsi_necrosis.settings.evaluation import RuleSettings

RULE = RuleSettings(rmse_margin=1.5, f1_margin=0.03, fast_backbone="lite")


def row(
    rmse: float | None, f1: float | None, cost: float, made: str = "lite mean hierarchical"
) -> dict[str, Any]:
    """A variant's error (hard leads, soft is worse), macro-F1 and cost."""
    backbone, fusion, heads = made.split()
    quantity = (
        None if rmse is None else {"estimator": "hard", "hard": {"rmse": rmse}, "soft": {"rmse": rmse + 9}}
    )
    tile = {"macro_f1": None if f1 is None else {"mean": f1, "sd": 0.0}}
    return {
        "quantity": quantity,
        "tile": tile,
        "cost_s": cost,
        "backbone": backbone,
        "fusion": fusion,
        "heads": heads,
    }


@pytest.mark.parametrize(
    ("rows", "chosen"),
    [
        ({"a": row(20, 0.5, 9), "b": row(22, 0.9, 1)}, "a"),  # the error first
        ({"a": row(20, 0.6, 1), "b": row(21.5, 0.7, 9)}, "b"),  # within 1.5 points macro-F1
        ({"a": row(20, 0.6, 1), "b": row(21.51, 0.7, 9)}, "a"),
        ({"a": row(20, 0.7, 9), "b": row(20, 0.68, 1)}, "b"),  # within .03 the cost
        ({"a": row(20, 0.7, 9), "b": row(20, 0.66, 1)}, "a"),
        ({"a": row(20, 0.7, 9), "b": row(21, 0.68, 2), "c": row(30, 0.7, 1)}, "b"),  # the cheapest is too far off
        ({"b": row(20, 0.7, 1), "a": row(20, 0.7, 1)}, "a"),
        ({"a": row(None, 0.9, 1), "b": row(40, 0.4, 9)}, "b"),  # what was not measured is not chosen
        ({"a": row(20, None, 9), "b": row(20, 0.1, 9)}, "b"),
        ({"a": row(None, 0.9, 1)}, None),
        ({}, None),
    ],
)  # fmt: skip
def test_error_then_macro_f1_then_cost(rows: dict[str, Any], chosen: str | None) -> None:
    assert choose(rows, RULE) == chosen


def test_one_best_is_not_passed_on_step_by_step() -> None:
    """Margins are from the best of all, not from the one before."""
    rows = {"a": row(20, 0.5, 1), "b": row(21.4, 0.52, 1), "c": row(22.8, 0.9, 1)}
    assert choose(rows, RULE) == "a"


def test_the_error_is_that_of_the_leading_estimator() -> None:
    one = row(20, 0.5, 1)
    assert leading_rmse(one) == 20
    one["quantity"]["estimator"] = "soft"
    assert leading_rmse(one) == 29
    assert leading_rmse(row(None, 0.5, 1)) is None


def test_models_that_ship_have_both_branches_and_hierarchical_heads() -> None:
    rows = {
        "dense": row(20, 0.7, 9, "dense mean hierarchical"),
        "dense-flat": row(10, 0.7, 9, "dense mean flat"),
        "dense-image": row(5, 0.9, 5, "dense image hierarchical"),
        "radiomics": row(5, 0.9, 1, "lite radiomics hierarchical"),
        "lite": row(25, 0.6, 2),
        "lite-gate": row(30, 0.6, 1, "lite gate hierarchical"),
        "lite-flat": row(24, 0.6, 1, "lite mean flat"),
    }
    assert chosen_of(rows, RULE) == {
        "default": "dense",
        "fast": "lite",
        "default, flat heads": "dense-flat",
        "fast, flat heads": "lite-flat",
    }
