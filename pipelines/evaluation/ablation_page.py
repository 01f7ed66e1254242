"""The page that compares training variants; every number comes from an evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsi_necrosis.classes import TUMOUR_CLASSES

from .rule import leading_rmse
from .simulation_page import chosen_lines, ends_table, error_table, how
from .tables import markdown, mean_percent, percent, pm
from .wrapping import wrapped

MARGIN = 0.05  # of macro-F1, below which differences mean little with so few tiles
PUBLISHED_TEST = "Case-4"  # of TCIA's tiles

PAGE = """\
# Comparison of training variants

Written by `wsi-necrosis evaluate`; numbers are not edited. {n_tiles} tiles of {n_cases} cases, one case left out at
a time, {n_seeds} training seeds. Every variant has the same tiles, folds and seeds, and the model's training
settings (in its `model.json`) except for what it sets in `configs/evaluation.yaml`; each is a single classifier,
without an ensemble. The variants and the rule that chooses among them were fixed before they were compared; `{main}`
is the model itself. Settings of the shipped models came out of earlier trials on the same tiles, so that their figures
are a little too good.

**How to read it.** With {n_tiles} tiles of {n_cases} cases, differences of .05 in macro-F1 mean little. Two intervals
stand beside each difference: *by seed* is the variation with other seeds on the same tiles; *by tile* (bootstrap) that
with other tiles of the same cases, and is too narrow, as neighbouring tiles are alike. Neither covers the variation
between cases, where most of the uncertainty lies.
{missing}
## Percent viable of simulated slides

{how}

RMSE in points; the estimator that leads is bold:

{error_table}

The leading estimator: slope of found on true percent viable, mean reading and limit (95 %) at the ends of the scale;
macro-F1 by tile; and the cost of a tile, network and radiomics on one core of the machine that made this page:

{ends_table}

{found_plot}## Which variant ships

{chosen}

## Single tiles

Means over seeds, +- standard deviation over seeds, of probabilities that are not calibrated. "Viable at 90 %" is the
sensitivity for viable tumour at 90 % specificity on the same tiles. Brier runs from 0 to 2.

{figure_table}

Difference in macro-F1 from the model's own variant ({confidence:.0f} % intervals; above 0 the variant is better):

{difference_table}

## Summary

{verdict}

## Each case by itself

Macro-F1 over the classes that a case has, and percent viable by soft / hard sums over its tiles (labelled:
{labelled}).{published}

{case_table}

## Importance of inputs

By how much the log loss of left-out tiles grows when a group of inputs is shuffled among the crops of a case, mean
over the seeds. About 0: the group adds nothing to the others; below 0: it makes predictions for unseen cases worse.

{importance_table}

{gate_table}

## Plots

![confusion](confusion.png)
![ROC](roc.png)
![reliability](reliability.png)
![learning curves](learning.png)
{gate_plot}"""
FOUND_PLOT = """\
Found against true, for the model itself:

![found against true](found.png)

"""


def render(facts: Mapping[str, Any]) -> str:
    """The page of a comparison, in Markdown."""
    rows = facts["variants"]
    cases = facts["metrics"]["cases"]
    first = next(iter(rows.values()))
    labelled = ", ".join(f"{case} {percent(found['truth'])}" for case, found in cases.items())
    page = PAGE.format(
        n_tiles=facts["metrics"]["n_tiles"],
        n_cases=len(cases),
        n_seeds=len(facts["seeds"]),
        main=facts["main"],
        how=how(facts["metrics"]["simulation"]),
        error_table=error_table(rows),
        ends_table=ends_table(rows),
        found_plot=FOUND_PLOT if facts["quantity"] else "",
        chosen=chosen_lines(facts["chosen"], facts["rule"]),
        missing=_missing(first["missing_classes"]),
        confidence=100 * first["difference"]["confidence"],
        figure_table=_figure_table(rows),
        difference_table=_difference_table(rows, facts["main"]),
        verdict="\n".join(f"- {line}" for line in verdicts(facts)),
        labelled=labelled,
        published=_published(cases),
        case_table=_by_case_table(rows, cases),
        importance_table=_importance_table(facts["importance"]),
        gate_table=_gate_table(facts["gate"]),
        gate_plot="![gate](gate.png)\n" if facts["gate"] else "",
    )
    return wrapped(page)


def summary(facts: Mapping[str, Any]) -> str:
    """Text printed at the end of a comparison."""
    rows = facts["variants"]
    lines = [
        f"{name:<22} RMSE {_error(row)}, macro-F1 {pm(row['tile']['macro_f1'], 3)}"
        for name, row in rows.items()
    ]
    lines += [f"the rule chooses for {ships}: {name}" for ships, name in facts["chosen"].items()]
    made = "are those of the checkpoint" if facts["reproduced"] else "DIFFER from those of the checkpoint"
    return "\n".join([*lines, f"figures of the model {made}", *verdicts(facts)])


def _error(row: Mapping[str, Any]) -> str:
    error = leading_rmse(row)
    return "not known" if error is None else f"{error:.1f} points"


def verdicts(facts: Mapping[str, Any]) -> list[str]:
    """Each variant against the model, in a sentence that claims no more than the figures do."""
    rows = facts["variants"]
    lines = []
    for name, row in rows.items():
        if name == facts["main"]:
            continue
        lines.append(f"{row['title']}: {_verdict(row['difference'])}.")
    return lines


def _verdict(difference: Mapping[str, Any]) -> str:
    mean = difference["mean"]
    if abs(mean) <= MARGIN:
        return f"makes no difference that these tiles could show ({mean:+.3f})"
    found = f"is {'better' if mean > 0 else 'worse'} by {abs(mean):.3f}"
    ends = {"other seeds": difference["by_seed"], "other tiles of these cases": difference["by_tile"]}
    crossed = [what for what, pair in ends.items() if pair is not None and pair[0] <= 0 <= pair[1]]
    return (
        f"{found}, within what {' or '.join(crossed)} could turn round"
        if crossed
        else f"{found} on these tiles"
    )


def better_arms(facts: Mapping[str, Any]) -> list[str]:
    """Variants whose macro-F1 exceeds the model's by more than `MARGIN`."""
    rows = facts["variants"]
    return [name for name, row in rows.items() if row["difference"]["mean"] > MARGIN]


def _figure_table(rows: Mapping[str, Any]) -> str:
    header = (
        "variant",
        "macro-F1",
        "balanced accuracy",
        "AUC",
        "viable at 90 %",
        "Brier",
        "calibration error",
    )
    lines, group = [], ""
    for name, row in rows.items():
        if row["group"] != group:
            group = row["group"]
            lines.append((f"**{group}**", *[""] * (len(header) - 1)))
        tile = row["tile"]
        lines.append(
            (
                f"`{name}`: {row['title']}",
                pm(tile["macro_f1"], 3),
                pm(tile["balanced_accuracy"], 3),
                pm(tile["auc_macro"], 3),
                pm(tile["sensitivity_at_90_viable"], 2),
                pm(tile["brier"], 2),
                pm(tile["ece"], 2),
            )
        )
    return markdown(header, lines)


def _difference_table(rows: Mapping[str, Any], main: str) -> str:
    lines = []
    for name, row in rows.items():
        if name != main:
            difference = row["difference"]
            lines.append(
                (
                    f"`{name}`",
                    f"{difference['mean']:+.3f}",
                    _interval(difference["by_seed"]),
                    _interval(difference["by_tile"]),
                )
            )
    return markdown(("variant", "difference", "by seed", "by tile"), lines)


def _by_case_table(rows: Mapping[str, Any], cases: Mapping[str, Any]) -> str:
    header = ["variant", *(f"{case}: macro-F1, % viable" for case in cases)]
    return markdown(
        header,
        (
            [
                f"`{name}`",
                *(
                    f"{pm(row['by_case'][case]['macro_f1'], 2)}, {mean_percent(row['cases'][case]['soft'])} / "
                    f"{mean_percent(row['cases'][case]['hard'])}"
                    for case in cases
                ),
            ]
            for name, row in rows.items()
        ),
    )


def _importance_table(importance: Mapping[str, float]) -> str:
    ordered = sorted(importance.items(), key=lambda item: -item[1])
    return markdown(("group", "log loss"), ((name, f"{value:+.3f}") for name, value in ordered))


def _gate_table(gate: Mapping[str, Any]) -> str:
    if not gate:
        return "Its branches are joined without weights."
    titles = {each.name: each.title for each in TUMOUR_CLASSES}
    table = markdown(
        ("class", "lower quartile", "median", "upper quartile"),
        (
            (titles[name], *(f"{found[key]:.2f}" for key in ("lower", "median", "upper")))
            for name, found in gate.items()
        ),
    )
    return f"Weight of the radiomics branch over left-out tiles (the image has the rest):\n\n{table}"


def _published(cases: Mapping[str, Any]) -> str:
    if PUBLISHED_TEST not in cases:
        return ""
    return f" The\npublished test is that of {PUBLISHED_TEST}, the one case with all three classes."


def _missing(classes: Sequence[str]) -> str:
    if not classes:
        return ""
    return f"\nNo tile is {' or '.join(classes)}; figures of what is missing are left out of means, and marked -.\n"


def _interval(pair: Sequence[float] | None) -> str:
    return "-" if pair is None else f"{pair[0]:+.3f} to {pair[1]:+.3f}"
