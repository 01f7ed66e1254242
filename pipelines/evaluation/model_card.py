"""The model card: intended use, training and figures of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.training.weight_packages import PACKAGES

from .ablation_page import PUBLISHED_TEST, better_arms
from .card_text import (
    CARD,
    FIGURES,
    HEADS,
    HOW_TUNED,
    LOSSES,
    MIXED,
    OWN_COMMANDS,
    REPRODUCED,
    SHARES,
    SHIPPED_COMMANDS,
)
from .rule import leading_rmse
from .simulation_page import group_table, how, sentences
from .tables import markdown, percent, pm
from .wrapping import wrapped


def render(spec: ModelSpec, facts: Mapping[str, Any], page: str = "docs/evaluation/ablation.md") -> str:
    """The card of a model that was compared with variants, in Markdown; `page` is the link to the comparison."""
    data, metrics, training = spec.trained_on, facts["metrics"], spec.training
    fit, detector = training["fit"], spec.ood
    text = CARD.format(
        name=spec.name, title=spec.title, notice_sentence=f"{spec.notice[:1].upper()}{spec.notice[1:]}.",
        mpp=spec.mpp, tile_px=spec.tile_px, backbone=_backbone(spec), branches=_branches(spec),
        heads=HEADS[spec.heads], members=_members(spec.members), normalise=spec.normalise,
        colours=f", mean {spec.mean}, std {spec.std}" if spec.backbone else "",
        sha256=spec.weights_sha256, loss=LOSSES[fit["loss"]], page=page,
        n_tiles=data.n_tiles, n_cases=len(data.cases), centre=data.centre, note=training["data"]["note"],
        stopping=_stopping(fit["patience"], data.cases), mixed=MIXED[training["data"]["mixed"]],
        varied=_varied(training["crops"]),
        count_table=_count_table(metrics["cases"]),
        source=data.source, doi=data.doi, licence=data.licence, source_mpp=_source_mpp(training["data"]["mpp_um"]),
        radiomics=_radiomics(spec), epochs=fit["epochs"], learning_rate=fit["learning_rate"],
        temperature=spec.calibration.value, temperature_cases=spec.calibration.cases,
        most_t=_most_temperature(training["calibration"], spec.calibration.cases),
        crops_left_out=_crops_left_out(metrics["crops_left_out"]),
        quantity=sentences(facts["quantity"]), how=how(metrics["simulation"]) if metrics["simulation"] else "",
        group_table=f"{group_table(metrics['simulation'])}\n" if metrics["simulation"] else "",
        found_plot=_found_plot(page) if facts["quantity"] else "", keep=100 * training["ood"]["keep"],
        limit=0.0 if detector is None else detector.limit,
        ensembles=_ensembles(metrics),
        figure_table=_figure_table(metrics), case_table=_case_table(metrics),
        variant_table=_variant_table(facts), verdict=_verdict(facts), gate=_gate(facts["gate"]),
        abstained=_abstained(metrics), ood=_ood(facts["ood"]),
        commands=SHIPPED_COMMANDS if spec.name == "default" else OWN_COMMANDS,
        reproduced=REPRODUCED[facts["reproduced"]],
        versions=", ".join(f"{name} {version}" for name, version in spec.created_with.items()),
    )  # fmt: skip
    return wrapped(text)


def _source_mpp(mpp: float | None) -> str:
    return "" if mpp is None else f", at {mpp:g} um per pixel where the source gives no pixel size"


def _backbone(spec: ModelSpec) -> str:
    if not spec.backbone:
        return "none; radiomics alone decide."
    initial = _initial(spec.training["network"]["initial"], spec.backbone)
    return f"timm `{spec.backbone}`, {HOW_TUNED[spec.training['fit']['tune']]}. {initial}"


def _radiomics(spec: ModelSpec) -> str:
    names, scale = spec.standardise.names, spec.standardise.scale
    if not names:
        return "none; the image alone decides."
    return (
        f"recipe `{spec.recipe.name}`, {len(names)} features ({scale.count(0.0)} constant on the training tiles and "
        f"unused),\n  standardised by median and MAD, clipped to +-{spec.standardise.clip:g}."
    )


def _branches(spec: ModelSpec) -> str:
    width = f"of width {spec.hidden}" if spec.hidden else "without hidden layers"
    if spec.fusion in {"image", "radiomics"}:
        return f"One branch {width}, the {spec.fusion}."
    if spec.fusion == "mean":
        return f"Two branches {width}, each with heads of its own, whose probabilities are averaged."
    return f"Two branches {width}, joined by `{spec.fusion}`."


def _members(count: int) -> str:
    if count == 1:
        return "One classifier."
    return f"{count} classifiers that differ in their seed, on the one backbone; their probabilities are averaged."


def _ensembles(metrics: Mapping[str, Any]) -> str:
    count, members, seeds = metrics["ensembles"], metrics["members"], len(metrics["seeds"])
    if count == 1:
        return f"One ensemble of {members}, so that no spread is known: it stands as 0."
    return (
        f"{count} ensembles of {members} from {seeds} seeds\n(mean +- standard deviation over ensembles that share "
        "members, which leaves out what another choice of cases\nwould do)."
    )


def _stopping(patience: int, cases: Sequence[str]) -> str:
    if patience:
        return (
            f"Early stopping after {patience} epochs without gain on an inner case, where one can be spared."
        )
    if PUBLISHED_TEST not in cases:
        return "No early stopping."
    return (
        "No early stopping: it needs a case that can be spared so that every class keeps a training case, and with "
        f"{PUBLISHED_TEST} left out the other three TCIA cases have none."
    )


def _initial(initial: str, backbone: str) -> str:
    if initial == "package":
        package = PACKAGES[backbone]
        source = f"`{package.distribution}` ({package.licence})"
        return f"Weights trained on {package.about}, from the package {source}; running the model does not need it."
    return "Random weights." if initial == "random" else f"First weights from `{initial}`."


def _figure_table(metrics: Mapping[str, Any]) -> str:
    tables = [metrics[name] for name in ("tile", "crop", "uncalibrated_tile", "uncalibrated_crop")]
    rows = ([title, *(pm(table[key], 3) for table in tables)] for key, title in FIGURES.items())
    return markdown(("", "tile", "crop", "tile, uncalibrated", "crop, uncalibrated"), rows)


def _count_table(cases: Mapping[str, Any]) -> str:
    names = [*CLASSES, *(["mixed"] if any(found["tiles"]["mixed"] for found in cases.values()) else [])]
    rows = ([case, *(str(found["tiles"][name]) for name in names)] for case, found in cases.items())
    titles = (each.title for each in TUMOUR_CLASSES)
    return markdown(("case", *titles, "Mixed")[: 1 + len(names)], rows)


def _case_table(metrics: Mapping[str, Any]) -> str:
    rows = (
        (case, percent(found["truth"]), pm(found["soft"], 1), pm(found["hard"], 1))
        for case, found in metrics["cases"].items()
    )
    return markdown(("case", "labelled", "soft", "hard"), rows)


def _crops_left_out(by_case: Mapping[str, Mapping[str, Mapping[str, int]]]) -> str:
    """Crops before and after those that do not inherit the label of their tile were left out."""
    titles = {each.name: each.title for each in TUMOUR_CLASSES} | {"mixed": "Mixed"}
    rows = (
        (case, titles[name], str(count["cut"]), str(count["cut"] - count["left_out"]))
        for case, of_case in by_case.items()
        for name, count in of_case.items()
    )
    table = markdown(("case", "tiles", "crops before", "crops after"), rows)
    return (
        "\nCrops of a tumour tile that are mostly glass, bone or fat do not inherit its label, and are left out of "
        f"training and figures:\n\n{table}\n"
    )


def _most_temperature(calibration: Mapping[str, float], cases: int) -> float:
    few = cases < calibration["few_cases"]
    return calibration["max_temperature_few_cases" if few else "max_temperature"]


def _found_plot(page: str) -> str:
    """The plot that lies beside the page of the comparison."""
    return f"\n![found against true]({PurePosixPath(page).parent / 'found.png'})\n"


def _variant_table(facts: Mapping[str, Any]) -> str:
    rows = facts["variants"]
    lines = [
        (
            f"`{name}`: {row['title']}",
            "-" if (error := leading_rmse(row)) is None else f"{error:.1f}",
            pm(row["tile"]["macro_f1"], 3),
            pm(row["tile"]["auc_macro"], 3),
            _difference(name, row, facts),
        )
        for name, row in rows.items()
    ]
    return markdown(("variant", "RMSE", "macro-F1", "AUC", "macro-F1, difference from the model"), lines)


def _difference(name: str, row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return "" if name == facts["main"] else f"{row['difference']['mean']:+.3f}"


def _verdict(facts: Mapping[str, Any]) -> str:
    better = better_arms(facts)
    if not better:
        return "No other way is better than the model by more than .05 macro-F1."
    rows = facts["variants"]
    titles = ", ".join(f"{rows[name]['title']}{_ships(facts, name)}" for name in better)
    return f"**Better than the model by more than .05 macro-F1 on these tiles: {titles}.**"


def _gate(gate: Mapping[str, Any]) -> str:
    """The weight of the radiomics branch in a sentence; empty without a gate."""
    if not gate:
        return ""
    titles = {each.name: each.title.lower() for each in TUMOUR_CLASSES}
    medians = ", ".join(f"{found['median']:.2f} ({titles[name]})" for name, found in gate.items())
    return (
        f" On left-out tiles the gate gives the radiomics branch a median weight of {medians}, of 1 in all."
    )


def _ships(facts: Mapping[str, Any], variant: str) -> str:
    return f" (ships as the model `{facts['ships'][variant]}`)" if variant in facts["ships"] else ""


def _abstained(metrics: Mapping[str, Any]) -> str:
    shares = ", ".join(
        f"{case} {100 * share['all']:.0f} % ({100 * share['others']:.0f} %)"
        for case, share in metrics["abstained"].items()
    )
    return (
        f"Of left-out cases' crops with tissue, {100 * metrics['abstained_share']:.1f} % are abstained on, as the "
        f"limit is set so: {shares}; in brackets with the limit from the other cases alone."
    )


def _ood(ood: Mapping[str, Any] | None) -> str:
    if ood is None:
        return ""
    rows = [
        (row["file"], row["group"], row["status"].replace("_", " "), *(_share(row, name) for name in SHARES))
        for row in ood["rows"]
    ]
    table = markdown(
        ("picture or slide", "shows", "result", "masked", "abstained", "non-tumour", "tumour"), rows
    )
    auroc = ", ".join(f"{group} {_known(value)}" for group, value in ood["auroc"].items())
    off, cells = ood["held_off_cells"]
    refused, open_ = (_groups(ood["rows"], expected) for expected in ("ood", "open"))
    return f"""
Runs on pictures and slides that the model was not made for, in percent of their area:

{table}

AUROC of the distance against left-out cases' crops with tissue, over cells with tissue: {auroc}. Of the cells of
what should be refused ({refused}), {off} of {cells} are masked or abstained on; of left-out cases' crops,
{100 * ood["familiar_abstained"]:.1f} %, as the limit is set so. {_unseen(ood)}Not asked to be
refused: {open_}. Where pictures name no pixel size it is assumed.
"""


def _varied(crops: Mapping[str, Any]) -> str:
    """What differs between views of a crop, beside their direction."""
    strengths = {
        "stains by {:.0f} %": 100 * crops["jitter"],
        "brightness by {:.0f} %": 100 * crops["brightness"],
        "white balance by {:.0f} %": 100 * crops["white_balance"],
        "gamma by {:.0f} %": 100 * crops["gamma"],
        "focus by a blur of up to {:.3g} um": crops["defocus_um"],
    }
    parts = [text.format(strength) for text, strength in strengths.items() if strength]
    return (
        f"varied in {', '.join(parts)}, with radiomics computed on the result" if parts else "not varied else"
    )


def _unseen(ood: Mapping[str, Any]) -> str:
    off, cells = ood["unseen_cells"]
    if not cells:
        return ""
    return (
        f"Pictures that set nothing ({_groups(ood['rows'], 'unseen')}) should be refused too: "
        f"{off} of {cells} cells are. "
    )


def _groups(rows: Sequence[Mapping[str, Any]], expected: str) -> str:
    return ", ".join(dict.fromkeys(row["group"] for row in rows if row["expected"] == expected)) or "none"


def _share(row: Mapping[str, Any], name: str) -> str:
    return f"{100 * row['shares'][name]:.0f}"


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
