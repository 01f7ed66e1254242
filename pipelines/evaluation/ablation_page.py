"""The page that compares training variants; every number comes from an evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsi_necrosis.classes import TUMOUR_CLASSES

from .wrapping import wrapped

MARGIN = 0.05  # of macro-F1, below which differences mean little with so few tiles
PUBLISHED_TEST = "Case-4"  # of TCIA's tiles

PAGE = """\
# Comparison of training variants

Written by `wsi-necrosis evaluate`; numbers are not edited. {n_tiles} tiles of {n_cases} cases, one case left out at
a time, {n_seeds} training seeds. Every variant has the same tiles, folds and seeds, and the model's training
settings (in its `model.json`) except for what its title names; each is a single classifier, without an ensemble. No
variant and no setting of a variant (`configs/evaluation.yaml`) was chosen or changed by these figures.

**How to read it.** With {n_tiles} tiles of {n_cases} cases, differences of .05 mean little. Two intervals stand beside
each difference: *by seed* is the variation with other seeds on the same tiles; *by tile* (bootstrap) that with other
tiles of the same cases, and is too narrow, as neighbouring tiles are alike. Neither covers the variation between
cases, where most of the uncertainty lies.
{missing}
## Variants

Means over seeds, +- standard deviation over seeds, of probabilities that are not calibrated. "Viable at 90 %" is the
sensitivity for viable tumour at 90 % specificity on the same tiles. Brier runs from 0 to 2. "Points off" is the mean
distance between percent viable of a left-out case and that of its labels, by soft and by hard sums, over seeds and
cases with tumour; "-" where no tumour was predicted in one.

{figure_table}

Difference in macro-F1 from the model's own variant ({confidence:.0f} % intervals; above 0 the variant is better):

{difference_table}

## Summary

{verdict}

## Each case by itself

Macro-F1 over the classes that a case has, and percent viable by soft sums (labelled: {labelled}).{published}

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


def render(facts: Mapping[str, Any]) -> str:
    """The page of a comparison, in Markdown."""
    rows = {**facts["frozen"], **facts["tuned"]}
    cases = facts["metrics"]["cases"]
    first = next(iter(rows.values()))
    labelled = ", ".join(f"{case} {_percent(found['truth'])}" for case, found in cases.items())
    page = PAGE.format(
        n_tiles=facts["metrics"]["n_tiles"],
        n_cases=len(cases),
        n_seeds=len(facts["seeds"]),
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
    rows = {**facts["frozen"], **facts["tuned"]}
    lines = [f"{name:<22} macro-F1 {pm(row['tile']['macro_f1'], 3)}" for name, row in rows.items()]
    made = "are those of the checkpoint" if facts["reproduced"] else "DIFFER from those of the checkpoint"
    return "\n".join([*lines, f"figures of the model {made}", *verdicts(facts)])


def new_cases(facts: Mapping[str, Any]) -> str:
    """Text printed at the end of an evaluation on new cases."""
    tile = facts["tile"]
    lines = [
        f"{facts['model']['name']} on {facts['tiles']} tiles of {len(facts['cases'])} cases that it has not seen"
    ]
    lines += [f"  {name:<28} {value['mean']:.3f}" for name, value in tile.items() if value is not None]
    lines += [
        f"  {name:<28} not defined: a class is missing" for name, value in tile.items() if value is None
    ]
    lines += [
        f"  percent viable, {case}: labelled {_percent(found['truth'])}, soft {_mean(found['soft'])}, "
        f"hard {_mean(found['hard'])}"
        for case, found in facts["cases"].items()
    ]
    return "\n".join([*lines, f"  crops unlike the training tiles {100 * facts['abstained_share']:.1f} %"])


def verdicts(facts: Mapping[str, Any]) -> list[str]:
    """Each variant against the model, in a sentence that claims no more than the figures do."""
    rows = {**facts["frozen"], **facts["tuned"]}
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
    rows = {**facts["frozen"], **facts["tuned"]}
    return [name for name, row in rows.items() if row["difference"]["mean"] > MARGIN]


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def pm(value: Mapping[str, float] | None, digits: int) -> str:
    """A mean and its spread; "-" where it is not defined."""
    return "-" if value is None else f"{value['mean']:.{digits}f} +- {value['sd']:.{digits}f}"


def _figure_table(rows: Mapping[str, Any]) -> str:
    header = (
        "variant",
        "macro-F1",
        "balanced accuracy",
        "AUC",
        "viable at 90 %",
        "Brier",
        "calibration error",
        "points off",
    )
    lines, group = [], ""
    for name, row in rows.items():
        if row["group"] != group:
            group = row["group"]
            lines.append((f"**{group}**", *[""] * (len(header) - 1)))
        tile, off = row["tile"], row["percent_viable_error"]
        lines.append(
            (
                f"`{name}`: {row['title']}{_seeds(row, rows)}",
                pm(tile["macro_f1"], 3),
                pm(tile["balanced_accuracy"], 3),
                pm(tile["auc_macro"], 3),
                pm(tile["sensitivity_at_90_viable"], 2),
                pm(tile["brier"], 2),
                pm(tile["ece"], 2),
                f"{_points(off['soft'])} / {_points(off['hard'])}",
            )
        )
    return markdown(header, lines)


def _seeds(row: Mapping[str, Any], rows: Mapping[str, Any]) -> str:
    most = max(each["seeds"] for each in rows.values())
    return "" if row["seeds"] == most else f" ({row['seeds']} seeds)"


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
                    f"{pm(row['by_case'][case]['macro_f1'], 2)}, {_mean(row['cases'][case]['soft'])}"
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


def _percent(value: float | None) -> str:
    return "no tumour" if value is None else f"{value:.0f} %"


def _mean(value: Mapping[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.1f} %"


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
