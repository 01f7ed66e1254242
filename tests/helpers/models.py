"""Tiny models of every kind, for the phantom's tiles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.ood import NUMBERS, OodDetector
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.model.standardise import Standardiser
from wsi_necrosis.model.tile_model import Prediction, TileModel
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.tiling.foreground import foreground

NOTHING = {"recipe": find_recipe("none"), "standardise": Standardiser((), (), (), 5.0)}
KINDS: dict[str, dict[str, Any]] = {
    "gate": {},
    "concat": {"fusion": "concat"},
    "image": {"fusion": "image", **NOTHING},
    "radiomics": {"fusion": "radiomics", "backbone": ""},
    "ensemble": {"members": 2, "heads": "flat"},
    "mean": {"fusion": "mean"},
    "macenko": {"normalise": "macenko"},
}


def save_random_model(folder: Path, kind: str, **changes: Any) -> ModelSpec:
    """Write a tiny model of one of `KINDS`, with random weights, for the phantom's tiles."""
    spec = replace(phantom_spec(), name=kind, hidden=8, **KINDS[kind], **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Network.of(spec)
    return save_checkpoint(folder, spec, network.tensors())


def save_model_with_ood_limit(folder: Path, limit: float) -> None:
    """Write the phantom's model with this limit of the OOD detector: any tile is beyond 1e-6, no tissue beyond 5."""
    unit = tuple(tuple(float(row == col) for col in range(NUMBERS)) for row in range(NUMBERS))
    detector = OodDetector((0.0,) * NUMBERS, (1.0,) * NUMBERS, unit, limit)
    spec = replace(phantom_spec(), ood=detector)
    save_checkpoint(folder, spec, phantom_network(spec).tensors())


def predict_tiles(model: TileModel, pixels: np.ndarray) -> Prediction:
    """Predictions of a model for tiles, with the radiomics of its recipe."""
    features, _ = extract(pixels, foreground(pixels), model.spec.recipe, model.spec.mpp)
    return model.predict(pixels, features)
