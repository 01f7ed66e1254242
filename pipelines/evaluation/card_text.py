"""The words of the model card."""

from __future__ import annotations

from wsi_necrosis.classes import TUMOUR_CLASSES

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
{crops_left_out}
{source}, doi: {doi}. Licence: {licence}.

{note}

## Model

- Backbone: {backbone}
- Input: {tile_px} x {tile_px} px at {mpp:g} um per pixel{colours}; stains normalised: {normalise}.
- Radiomics: {radiomics}
- {branches} {heads}
- {members}
- Loss: {loss}; classes are weighted by inverse frequency.
- {epochs} epochs of AdamW at {learning_rate:g}; crops are rotated and mirrored, and
  {varied}. {stopping}
- Calibration of single tiles, for their uncertainty: temperature {temperature:.2f}, fitted to {temperature_cases}
  left-out cases and at most {most_t:g}. Percent viable is of probabilities as they are.
- Tiles unlike the training tiles: a tile is described by its mean colours and by how much they vary within 2 x 2
  pixels (6 numbers). The model abstains beyond {limit:.2f} from the views of the training crops (Mahalanobis distance
  over the root of 6), within which {keep:.0f} % of left-out cases' crops lie.
- Weights: float16, SHA-256 `{sha256}`.

## Percent viable

{quantity}

{how}

{group_table}{found_plot}
Percent viable of the tiles of a left-out case, with equal weight for every tile:

{case_table}

## Single tiles

One case left out at a time, predictions pooled over the cases. {ensembles}
"Tile" is the mean over the crops of a tile; "crop" is a single crop, which corresponds to one cell of a slide.
The temperature of a case is fitted on the other cases.

{figure_table}

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
- The tables show how far percent viable of an unseen case may be off. No interval covers this error, as there are
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
From a checkout after `make setup`, with the data folder in `WSI_NECROSIS_DATA`; the first makes the weights, the third
every number of this card:

```
.venv/bin/wsi-necrosis train --preset tcia -o wsi_necrosis/weights/default
.venv/bin/python benchmarks/ood_made.py -o ood-made
.venv/bin/wsi-necrosis evaluate default --tiles $WSI_NECROSIS_DATA/tcia_os --ood benchmarks/ood_inputs.csv \\
    --ood ood-made/ood_made.csv -o docs/evaluation --card MODEL_CARD.md
```"""
OWN_COMMANDS = """\
`wsi-necrosis train`, with the settings that stand in `model.json` under `training`, makes the weights, and
`wsi-necrosis evaluate` on the same tiles the numbers of this card."""
