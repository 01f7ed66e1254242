"""Temperature, OOD detector, estimator of percent viable and figures of a model, computed from left-out cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from wsi_necrosis.dataset.tiles import cases_of
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.quantity import Quantity
from wsi_necrosis.settings.evaluation import load_evaluation_settings
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.figures import case_table, crop_table, tile_table
from wsi_necrosis.training.held_out_ood import abstained_nested, hold_out_ood
from wsi_necrosis.training.leave_case_out import HeldOut
from wsi_necrosis.training.quantity import measure_held_out
from wsi_necrosis.training.samples import Samples
from wsi_necrosis.training.temperature import calibrate_nested, fit_temperature

PICTURE_DIGITS = 16  # of a picture's SHA-256 that a checkpoint keeps


@dataclass(frozen=True)
class HeldOutSummary:
    """A model's temperature, OOD detector, figures, and what is known of its percent viable, from left-out cases."""

    calibration: Temperature
    ood: OodDetector
    metrics: Mapping[str, Any]
    quantity: Quantity | None = None


def summarise_held_out(samples: Samples, held: HeldOut, settings: TrainSettings) -> HeldOutSummary:
    """The temperature, the OOD detector with its limit, the estimator, and figures by tile, crop, case and slide.

    Computed for ensembles of as many members as the model has, or of all seeds where these are fewer.
    """
    rules = load_evaluation_settings()
    bins = rules.calibration_bins
    members = min(settings.network.members, held.seeds)
    prob = held.ensembles(members)
    nested = calibrate_nested(prob, samples, settings.calibration)
    ood = hold_out_ood(samples, settings.crops, settings.ood)
    simulated = measure_held_out(samples, prob, rules.seed)
    metrics = {
        "protocol": "one case left out at a time, predictions pooled over the cases",
        "seeds": list(settings.fit.test_seeds),
        "members": members,
        "ensembles": len(prob),
        "n_tiles": len(samples.tiles),
        "n_crops": len(samples),
        "crops_left_out": {
            case: {name: asdict(count) for name, count in by_class.items()}
            for case, by_class in samples.left_out.items()
        },
        "calibration_bins": bins,
        "tile": tile_table(samples, nested, bins),
        "crop": crop_table(samples, nested, bins),
        "uncalibrated_tile": tile_table(samples, prob, bins),
        "uncalibrated_crop": crop_table(samples, prob, bins),
        "cases": case_table(samples, prob),
        "simulation": simulated.figures,
        "abstained": abstained_nested(ood, samples, settings.ood),
        "abstained_share": float(np.mean(ood.distance[ood.tissue] > ood.limit(ood.tissue, settings.ood))),
        "crops_without_tissue": int((~ood.tissue).sum()),
    }
    cases = len(cases_of(samples.tiles))
    temperature = fit_temperature(prob, samples.truth, cases, settings.calibration)
    return HeldOutSummary(temperature, ood.fit(settings.ood), metrics, simulated.quantity)
