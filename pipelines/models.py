"""`wsi-necrosis models`: list, describe, check and convert models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import REFERENCE, Backend, has_torch, require_torch
from wsi_necrosis.model.backend_check import painted_tiles
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import (
    NETWORK_FILES,
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    list_models,
    load_spec,
    model_folder,
)
from wsi_necrosis.model.tile_model import Prediction


def describe_all() -> str:
    """A line for each model that comes with the package."""
    return "\n".join(f"{name:<12} {load_spec(name).title}" for name in list_models())


def show(names: Sequence[str]) -> str:
    """Descriptions of models; of the shipped ones without a name.

    Raises
    ------
    ModelError
        A model is missing or damaged.
    """
    return "\n\n".join(_described(load_spec(name), model_folder(name)) for name in names or list_models())


def validate(names: Sequence[str]) -> str:
    """Check descriptions, hashes and weights, and score painted tiles; of the shipped models without a name.

    Raises
    ------
    ModelError
        A model is missing or damaged, or what it says of painted tiles is no number or out of range.
    """
    return "\n".join(_validated(name) for name in names or list_models())


def convert(names: Sequence[str]) -> str:
    """Add the network as OpenVINO runs it to checkpoints, so that a processor needs no torch for them.

    Raises
    ------
    ModelError
        A model is missing or damaged, or its network cannot be converted.
    MissingExtraError
        torch or OpenVINO is not installed.
    """
    require_torch("models convert")
    from wsi_necrosis.model.conversion import add_network  # needs torch

    lines = []
    for name in names:
        add_network(name)
        size = sum((model_folder(name) / file).stat().st_size for file in NETWORK_FILES) / 1e6
        lines.append(
            f"{name}: converted, {size:.1f} MB added to {model_folder(name)}; it runs without torch now"
        )
    return "\n".join(lines)


def _described(spec: ModelSpec, folder: Path) -> str:
    files = (SPEC_FILE, WEIGHTS_FILE, *(spec.converted.sha256 if spec.converted else ()))
    lacking = [file for file in files if not (folder / file).is_file()]
    if lacking:
        raise ModelError(f"{folder} lacks {', '.join(lacking)}; fetch or train the model again")
    size = sum((folder / file).stat().st_size for file in files) / 1e6
    data = spec.trained_on
    figure = spec.metrics.get("tile", {}).get("macro_f1")  # a mean and sd, or None: `spec` sees to it
    facts = {
        "what": spec.title,
        "notice": spec.notice,
        "tiles": f"{spec.tile_px} px at {spec.mpp:g} um",
        "network": f"{spec.backbone or 'no backbone'}, {spec.fusion}, {spec.heads} heads, members {spec.members}",
        "radiomics": f"recipe {spec.recipe.name}, {len(spec.feature_names)} features",
        "stains": f"normalised: {spec.normalise}",
        "calibration": f"temperature {spec.calibration.value:.2f}",
        "unlike training tiles": "not recognised" if spec.ood is None else "abstained on",
        "trained on": f"{data.n_tiles} tiles, cases: {', '.join(data.cases) or 'none'}; {data.source}",
        "left-out cases": "no figures"
        if figure is None
        else f"macro-F1 {figure['mean']:.3f} +- {figure['sd']:.3f}",
        "for OpenVINO": f"converted by openvino {spec.converted.made_with.get('openvino', '?')}; runs without torch"
        if spec.converted
        else "converted once on each machine, which needs torch",
        "weights": f"{spec.weights_sha256}, {size:.1f} MB in {folder}",
    }
    return "\n".join([spec.name, *(f"  {name:<15} {value}" for name, value in facts.items())])


def _require_answers(name: str, found: Prediction) -> None:
    """Refuse what a run could not use: probabilities, uncertainties and distances are numbers within their range."""
    within = {
        "probabilities": np.allclose(found.prob.sum(axis=1), 1, atol=1e-3) and (found.prob >= 0).all(),
        "uncertainties": ((found.uncertainty >= 0) & (found.uncertainty <= 1 + 1e-6)).all(),
        "distances from the training tiles": ((found.ood >= 0) & np.isfinite(found.ood)).all(),
    }
    for what, fine in within.items():
        if not fine:
            raise ModelError(f"model {name!r} gives painted tiles {what} that are none; train it again")


def _validated(name: str) -> str:
    spec = load_spec(name)
    tensors = load_tensors(name, spec)
    # Without torch a model is checked on what would run it.
    model = load_model(name, REFERENCE if has_torch() else Backend("openvino"))
    _require_answers(name, model.predict(painted_tiles(spec.tile_px)))
    numbers = sum(tensor.size for tensor in tensors.values())
    return f"{name}: whole, {numbers / 1e6:.1f} million numbers, SHA-256 {spec.weights_sha256}"
