"""What simulated slides say of percent viable, as tables and sentences for the comparison and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsi_necrosis.quantify.sentences import limit_of_blank_text, limit_of_full_text

from .tables import markdown

HOW = (
    "A simulated slide is {cells} cells drawn with replacement from crops of left-out cases, {share:.0f} % of them "
    "non-tumour; {draws} slides a scene, each crop scored by the models that left its case out, without temperature. A "
    "case with both kinds of tumour is taken at 0, 10, 30, 50, 70, 90 and 100 % viable, one with a single kind at 0 or "
    "100, pairs of these from 10 to 90. Non-tumour is of the same cases, or of all where these have none."
)
NOTHING = (
    "The left-out cases do not hold both kinds of tumour, so that the error of percent viable is not known."
)


def how(simulation: Mapping[str, Any]) -> str:
    """How slides were simulated, in words; that nothing is known, where they could not be."""
    if not simulation:
        return NOTHING
    share = 100 * simulation["non_tumour_share"]
    return HOW.format(cells=simulation["cells"], draws=simulation["draws"], share=share)


def error_table(rows: Mapping[str, Any]) -> str:
    """Error of percent viable of each variant, over all slides and by group: soft / hard; the leading one is bold."""
    groups = next((list(row["simulation"]["by_group"]) for row in rows.values() if row["simulation"]), [])
    lines = []
    for name, row in rows.items():
        simulation = row["simulation"]
        if not simulation:
            lines.append((f"`{name}`", *["-"] * (1 + len(groups))))
            continue
        cells = (f"{error['soft']:.1f} / {error['hard']:.1f}" for error in simulation["by_group"].values())
        lines.append((f"`{name}`", _both(row), *cells))
    return markdown(("variant", "all slides: soft / hard", *groups), lines)


def ends_table(rows: Mapping[str, Any]) -> str:
    """The leading estimator of each variant: its line, what it reads at the ends of the scale, and cost."""
    header = (
        "variant",
        "leads",
        "slope",
        "where nothing is viable",
        "where all tumour is",
        "cases with both kinds: soft / hard at 0 and at 100 %",
        "macro-F1",
        "ms a tile",
    )
    return markdown(header, (_ends_row(name, row) for name, row in rows.items()))


def group_table(simulation: Mapping[str, Any]) -> str:
    """Error of both estimators over all slides and by group, and their bias."""
    groups = simulation["by_group"]
    return markdown(
        ("", "all slides", *groups, "bias"),
        (
            [
                way,
                f"{simulation['rmse'][way]:.1f}",
                *(f"{error[way]:.1f}" for error in groups.values()),
                f"{simulation['bias'][way]:+.1f}",
            ]
            for way in ("soft", "hard")
        ),
    )


def sentences(quantity: Mapping[str, Any] | None) -> str:
    """Which estimator leads, its line, and what it reads at the ends of the scale."""
    if quantity is None:
        return NOTHING
    leads = quantity[quantity["estimator"]]
    what = {"soft": "summed probabilities (soft)", "hard": "counts of the most probable class (hard)"}
    return " ".join(
        (
            f"Percent viable is by {what[quantity['estimator']]}, which err less: {quantity['soft']['rmse']:.1f} "
            f"points soft, {quantity['hard']['rmse']:.1f} hard (RMSE).",
            f"Found is {leads['slope']:.2f} times true, plus {leads['intercept']:.1f}.",
            _sentence(limit_of_blank_text(leads["blank"])),
            _sentence(limit_of_full_text(leads["full"])),
        )
    )


def chosen_lines(chosen: Mapping[str, str | None], rule: Mapping[str, Any]) -> str:
    """The rule, and which variant it chooses for each of the models that ship."""
    lines = [
        "The least RMSE of the leading estimator; among variants within "
        f"{rule['rmse_margin']:g} points of it the best macro-F1; among those within {rule['f1_margin']:g} of that the "
        "least cost. The rule was fixed before the comparison. It chooses",
        "",
    ]
    names = ((ships, "none" if name is None else f"`{name}`") for ships, name in chosen.items())
    return "\n".join([*lines, *(f"- {ships}: {name}" for ships, name in names)])


def _ends_row(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    f1 = row["tile"]["macro_f1"]
    f1, cost = "-" if f1 is None else f"{f1['mean']:.3f}", f"{1000 * row['cost_s']:.1f}"
    if row["quantity"] is None:
        return (f"`{name}`", *["-"] * 5, f1, cost)
    way = row["quantity"]["estimator"]
    leads = row["quantity"][way]
    read = (_end(leads[name]) for name in ("blank", "full"))
    return (f"`{name}`", way, f"{leads['slope']:.2f}", *read, _mixed(row["simulation"]), f1, cost)


def _mixed(simulation: Mapping[str, Any]) -> str:
    """Mean readings by both estimators at 0 and at 100 % of each case that has both scenes."""
    means = {
        (scene["group"], scene["true"]): f"{scene['soft']['mean']:.1f} / {scene['hard']['mean']:.1f} %"
        for scene in simulation["scenes"]
    }
    found = (
        f"{group} {means[group, 0]} and {means[group, 100]}"
        for group in simulation["by_group"]
        if (group, 0) in means and (group, 100) in means
    )
    return ", ".join(found) or "-"


def _both(row: Mapping[str, Any]) -> str:
    figures, leads = row["simulation"]["rmse"], row["quantity"]["estimator"]
    return " / ".join(
        f"**{figures[way]:.1f}**" if way == leads else f"{figures[way]:.1f}" for way in ("soft", "hard")
    )


def _end(end: Mapping[str, Any] | None) -> str:
    return "not known" if end is None else f"{end['mean']:.0f} % (limit {end['limit']:.0f} %)"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
