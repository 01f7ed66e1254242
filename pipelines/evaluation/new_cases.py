"""Figures of a model itself, on tiles that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.inference.scorer import predict_padded
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.settings.evaluation import EvaluationSettings
from wsi_necrosis.settings.train import CropSettings
from wsi_necrosis.training.figures import case_table, crop_table, tile_table
from wsi_necrosis.training.quantity import measure_quantity
from wsi_necrosis.training.samples import SampleCache

from .tables import mean_percent, percent

WITHIN = (
    "WITHIN-CASE: other tiles of the same patients were in the training, so that these figures are too good for a new "
    "case"
)


def identity(spec: ModelSpec) -> dict[str, str]:
    """Name and hashes of a model."""
    return {"name": spec.name, "sha256": spec.weights_sha256, "fingerprint": spec.fingerprint}


def judge_new(
    model_name: str,
    tiles: Sequence[LabelledTile],
    crops: CropSettings,
    rules: EvaluationSettings,
    within_case: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Figures, JSON-ready, of a model on tiles that were not in its training.

    Those of tiles and crops are of calibrated probabilities, those of percent viable are not.

    Parameters
    ----------
    model_name : str
        Shipped model or checkpoint folder.
    tiles : sequence of LabelledTile
        The tiles.
    crops, rules
        Settings of the training's crops, and of the evaluation.
    within_case : sequence of str, optional
        Given where the tiles were said to be of cases that the model was trained on: those that it knows by name.
    """
    model = load_model(model_name)
    plain = TileModel(replace(model.spec, calibration=Temperature()), model.run)
    samples = SampleCache(tiles).plain(crops, model.spec.recipe)
    found = predict_padded(plain, samples.pixels, samples.features[:, 0], crops.batch)
    prob = found.prob.astype(np.float64)[None]
    calibrated = model.spec.calibration.apply(found.prob).astype(np.float64)[None]
    simulated, bins = measure_quantity(samples, prob, rules.seed), rules.calibration_bins
    return {
        "model": identity(model.spec),
        "within_case": None if within_case is None else {"known_cases": list(within_case), "note": WITHIN},
        "tiles": len(tiles),
        "crops_left_out": {
            case: {name: asdict(count) for name, count in by_class.items()}
            for case, by_class in samples.left_out.items()
        },
        "cases": case_table(samples, prob),
        "tile": tile_table(samples, calibrated, bins),
        "crop": crop_table(samples, calibrated, bins),
        "quantity": None if simulated.quantity is None else asdict(simulated.quantity),
        "simulation": simulated.figures,
        "abstained_share": round(float((found.ood > 1).mean()), 4),
    }


def describe(facts: Mapping[str, Any]) -> str:
    """Text that is printed at the end."""
    within, name = facts["within_case"], facts["model"]["name"]
    seen = "that it has not seen" if within is None else "(within-case)"
    mark = "" if within is None else "within-case "
    lines = [] if within is None else [within["note"]]
    lines.append(f"{name} on {facts['tiles']} tiles of {len(facts['cases'])} cases {seen}")
    lines += [f"  {mark}{key:<28} {_figure(value)}" for key, value in facts["tile"].items()]
    lines += [
        f"  {mark}percent viable, {case}: labelled {percent(found['truth'])}, soft {mean_percent(found['soft'])}, "
        f"hard {mean_percent(found['hard'])}"
        for case, found in facts["cases"].items()
    ]
    if facts["simulation"]:
        soft, hard = (facts["simulation"]["rmse"][way] for way in ("soft", "hard"))
        lines.append(f"  {mark}error on simulated slides: soft {soft:.1f} points, hard {hard:.1f} (RMSE)")
        lines += [f"  {mark}{_line(way, facts['quantity'][way])}" for way in ("soft", "hard")]
    return "\n".join(
        [*lines, f"  {mark}crops unlike the training tiles {100 * facts['abstained_share']:.1f} %"]
    )


def _line(way: str, figures: Mapping[str, Any]) -> str:
    blank = figures["blank"]
    limit = "not known" if blank is None else f"{blank['limit']:.1f} % ({blank['cases']} cases)"
    return (
        f"{way}: slope {figures['slope']:.2f}, intercept {figures['intercept']:.1f}; limit of blank {limit}"
    )


def _figure(value: Mapping[str, float] | None) -> str:
    return "not defined: a class is missing" if value is None else f"{value['mean']:.3f}"
