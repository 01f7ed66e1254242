"""The shipped model's backbone and image branch without radiomics, gate and OOD detector: what a peer can run too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.radiomics.recipe import Recipe

BRANCHES = (".radiomics.", ".gate.")


def plain_model(folder: Path) -> Path:
    """Write the checkpoint: fusion image, no recipe, the heads fed by the image branch alone.

    The weights are the default model's own, so that probabilities differ from tile to tile; the heads
    were trained on a mixture of two branches, and what they say here means nothing.
    """
    spec = load_spec("default")
    tensors = load_tensors("default", spec)
    kept = {name: tensor for name, tensor in tensors.items() if not any(part in name for part in BRANCHES)}
    plain = replace(
        spec,
        name="plain",
        title="EfficientNet-Lite0 without radiomics, to measure speed",
        notice="made to measure speed; its answers mean nothing",
        recipe=Recipe("none", ()),
        standardise=Standardiser((), (), (), 1.0),
        fusion="image",
        ood=None,
        training={},
        metrics={},
    )
    save_checkpoint(folder, plain, kept)
    return folder
