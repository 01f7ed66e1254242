from __future__ import annotations

import copy
from typing import Any

import pytest

from wsi_necrosis.pipelines.evaluation.simulation_page import (
    NOTHING,
    chosen_lines,
    ends_table,
    error_table,
    group_table,
    how,
    sentences,
)

BLANK = {"mean": 20.6, "limit": 38.4, "cases": 3}
FULL = {"mean": 88.4, "limit": 71.5, "cases": 2}
QUANTITY: dict[str, Any] = {
    "estimator": "hard",
    "soft": {"rmse": 24.44, "slope": 0.5, "intercept": 20.0, "blank": None, "full": None},
    "hard": {"rmse": 20.06, "slope": 0.71, "intercept": -3.2, "blank": BLANK, "full": FULL},
}
SIMULATION: dict[str, Any] = {
    "cells": 300,
    "draws": 20,
    "non_tumour_share": 0.25,
    "rmse": {"soft": 24.44, "hard": 20.06},
    "bias": {"soft": 1.25, "hard": -2.5},
    "by_group": {"both": {"soft": 1.1, "hard": 2.2}, "dead": {"soft": 3.3, "hard": 4.4}},
    "scenes": [
        {"group": "both", "true": 0, "soft": {"mean": 11, "sd": 1}, "hard": {"mean": 12.3, "sd": 1}},
        {"group": "both", "true": 50, "soft": {"mean": 55, "sd": 1}, "hard": {"mean": 56, "sd": 1}},
        {"group": "both", "true": 100, "soft": {"mean": 90, "sd": 1}, "hard": {"mean": 91.2, "sd": 1}},
        {"group": "dead", "true": 0, "soft": {"mean": 5, "sd": 1}, "hard": {"mean": 6, "sd": 1}},
    ],
}
ROW = {
    "quantity": QUANTITY, "simulation": SIMULATION, "tile": {"macro_f1": {"mean": 0.7123, "sd": 0}}, "cost_s": 0.0456
}  # fmt: skip
UNKNOWN = {"quantity": None, "simulation": {}, "tile": {"macro_f1": None}, "cost_s": 0.001}


def test_the_leading_error_is_bold_and_groups_stand_beside() -> None:
    assert error_table({"none": UNKNOWN, "a": ROW}).splitlines() == [
        "| variant | all slides: soft / hard | both | dead |",
        "| --- | --- | --- | --- |",
        "| `none` | - | - | - |",
        "| `a` | 24.4 / **20.1** | 1.1 / 2.2 | 3.3 / 4.4 |",
    ]


def test_line_and_ends_are_those_of_the_leading_estimator() -> None:
    known, unknown = ends_table({"a": ROW, "none": UNKNOWN}).splitlines()[2:]
    ends = "21 % (limit 38 %) | 88 % (limit 72 %)"
    assert known == f"| `a` | hard | 0.71 | {ends} | both 11.0 / 12.3 % and 90.0 / 91.2 % | 0.712 | 45.6 |"
    assert unknown == "| `none` | - | - | - | - | - | - | 1.0 |"
    soft = copy.deepcopy(ROW) | {"quantity": QUANTITY | {"estimator": "soft"}}
    assert "| `a` | soft | 0.50 | not known | not known | both 11.0" in ends_table({"a": soft})


def test_without_a_case_of_both_kinds_there_is_no_such_reading() -> None:
    simulation = SIMULATION | {"scenes": SIMULATION["scenes"][3:]}
    assert "| - | 0.712 |" in ends_table({"a": ROW | {"simulation": simulation}})


def test_groups_and_bias_of_a_model() -> None:
    assert group_table(SIMULATION).splitlines() == [
        "|  | all slides | both | dead | bias |",
        "| --- | --- | --- | --- | --- |",
        "| soft | 24.4 | 1.1 | 3.3 | +1.2 |",
        "| hard | 20.1 | 2.2 | 4.4 | -2.5 |",
    ]


def test_what_is_read_at_the_ends_is_said() -> None:
    said = sentences(QUANTITY)
    for part in (
        "counts of the most probable class (hard)",
        "24.4 points soft, 20.1 hard (RMSE)",
        "0.71 times true, plus -3.2",
        "On cases without viable tumour this model reads 21 % (3 cases); up to 38 % cannot be told from none.",
        "all viable this model reads 88 % (2 cases); 72 % and more cannot be told from all.",
    ):
        assert part in said, part


def test_what_is_not_known_is_said() -> None:
    said = sentences(QUANTITY | {"estimator": "soft"})
    assert "on cases without viable tumour is not known." in said
    assert "on cases whose tumour is all viable is not known." in said
    assert sentences(None) == NOTHING == how({})


def test_how_slides_are_simulated_is_told_with_its_numbers() -> None:
    said = how(SIMULATION | {"cells": 123, "draws": 45, "non_tumour_share": 0.3})
    assert "123 cells" in said
    assert "30 % of them non-tumour" in said
    assert "45 slides a scene" in said


@pytest.mark.parametrize(("name", "said"), [("lite", "- fast: `lite`"), (None, "- fast: none")])
def test_the_rule_and_its_choice_are_told(name: str | None, said: str) -> None:
    page = chosen_lines({"fast": name}, {"rmse_margin": 1.5, "f1_margin": 0.03})
    assert "within 1.5 points of it the best macro-F1; among those within 0.03" in page
    assert page.endswith(said)
