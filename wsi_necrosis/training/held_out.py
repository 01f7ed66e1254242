"""What left-out cases teach about a way of making a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.ood import Novelty
from wsi_necrosis.settings.loading import HonestySettings, TrainSettings, load_evaluation_settings
from wsi_necrosis.training.leave_case_out import (
    HeldOut,
    abstained_nested,
    calibrate_nested,
    fit_temperature,
    hold_out_novelty,
)
from wsi_necrosis.training.samples import Samples

from .figures import case_table, crop_table, tile_table

PICTURE_DIGITS = 16  # of a picture's SHA-256 that a checkpoint keeps


@dataclass(frozen=True)
class Learned:
    """What left-out cases taught: how sure the model may be, what is unusual, and its figures."""

    honesty: HonestySettings
    calibration: Temperature
    novelty: Novelty
    metrics: Mapping[str, Any]


def learned(samples: Samples, held: HeldOut, settings: TrainSettings) -> Learned:
    """The temperature, the limit of novelty, and figures by tile, crop and case.

    For ensembles of the size that ships, or of all seeds where these are fewer.
    """
    bins = load_evaluation_settings().calibration_bins
    members = min(settings.network.members, held.seeds)
    prob = held.ensembles(members)
    nested = calibrate_nested(prob, samples, settings.honesty)
    strange = hold_out_novelty(samples, settings.honesty)
    metrics = {
        "protocol": "one case left out at a time, predictions pooled over the cases",
        "seeds": list(settings.fit.test_seeds),
        "members": members,
        "ensembles": len(prob),
        "n_tiles": len(samples.tiles),
        "n_crops": len(samples),
        "calibration_bins": bins,
        "tile": tile_table(samples, nested, bins),
        "crop": crop_table(samples, nested, bins),
        "uncalibrated_tile": tile_table(samples, prob, bins),
        "uncalibrated_crop": crop_table(samples, prob, bins),
        "cases": case_table(samples, nested),
        "uncalibrated_cases": case_table(samples, prob),
        "abstained": abstained_nested(strange, samples, settings.honesty),
        "abstained_share": float(
            np.mean(strange.distance[strange.tissue] > strange.limit(strange.tissue, settings.honesty))
        ),
        "crops_without_tissue": int((~strange.tissue).sum()),
    }
    temperature = fit_temperature(prob, samples.truth, settings.honesty)
    return Learned(settings.honesty, temperature, strange.fit(settings.honesty), metrics)
