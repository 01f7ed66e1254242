"""The rule by which one of several ways of making a model is chosen, written down before any figure is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsi_necrosis.settings.evaluation import RuleSettings

Row = Mapping[str, Any]


def choose(rows: Mapping[str, Row], rule: RuleSettings) -> str | None:
    """Name of the variant that the rule prefers; None where percent viable of none was measured.

    The least error of percent viable, of the leading estimator; among those within `rule.rmse_margin` points of it the
    best macro-F1 by tile; among those within `rule.f1_margin` of that the least cost, by name among equals.

    Parameters
    ----------
    rows : mapping
        By name: `quantity` (None, or `estimator` and figures of each), `tile` with `macro_f1`, and `cost_s`.
    rule : RuleSettings
        The two margins.
    """
    errors = {name: error for name, row in rows.items() if (error := leading_rmse(row)) is not None}
    if not errors:
        return None
    least = min(errors.values())
    close = {
        name: _macro_f1(rows[name]) for name, error in errors.items() if error <= least + rule.rmse_margin
    }
    best = max(close.values())
    equal = [name for name, f1 in close.items() if f1 >= best - rule.f1_margin]
    return min(sorted(equal), key=lambda name: float(rows[name]["cost_s"]))


def chosen_of(rows: Mapping[str, Row], rule: RuleSettings) -> dict[str, str | None]:
    """The variants that the rule chooses to ship as `default` and as `fast`, and the best with flat heads beside each.

    `default` is of those with a network, radiomics and hierarchical heads; `fast` of those among them on
    `rule.fast_backbone`.
    """
    two = {name: row for name, row in rows.items() if row["fusion"] not in {"image", "radiomics"}}
    two_stage = {name: row for name, row in two.items() if row["heads"] == "hierarchical"}
    flat = {name: row for name, row in two.items() if row["heads"] == "flat"}
    return {
        "default": choose(two_stage, rule),
        "fast": choose(_on(rule.fast_backbone, two_stage), rule),
        "default, flat heads": choose(flat, rule),
        "fast, flat heads": choose(_on(rule.fast_backbone, flat), rule),
    }


def leading_rmse(row: Row) -> float | None:
    """Error in points of the estimator that leads."""
    quantity = row["quantity"]
    return None if quantity is None else float(quantity[quantity["estimator"]]["rmse"])


def _on(backbone: str, rows: Mapping[str, Row]) -> dict[str, Row]:
    return {name: row for name, row in rows.items() if row["backbone"] == backbone}


def _macro_f1(row: Row) -> float:
    value = row["tile"]["macro_f1"]
    return float(value["mean"]) if value is not None else 0.0
