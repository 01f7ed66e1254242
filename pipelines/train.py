"""`wsi-necrosis train`: from labelled tiles to a checkpoint folder and its model card."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.agreement import one_hot, percent_viable, tile_figures
from wsi_necrosis.checkpoint import ModelSpec, Standardiser, TrainingData, save_checkpoint
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset import cases_of, read_labels
from wsi_necrosis.model import Network
from wsi_necrosis.radiomics import Recipe, find_recipe
from wsi_necrosis.replacing import write_text
from wsi_necrosis.settings import TrainSettings, load_train_settings
from wsi_necrosis.training import Samples, cross_predict, fit, initial_backbone, prepare

from .model_card import render

VERSIONED = ("wsi-necrosis", "torch", "timm", "numpy", "scikit-image", "numba")

log = logging.getLogger(__name__)


def train(config: Path, overrides: Iterable[str], out: Path) -> None:
    """Train a model, judge it by leaving cases out, and write checkpoint and model card to `out`.

    Raises
    ------
    WsiNecrosisError
        Settings, tiles or the backbone's weights are missing or do not fit.
    """
    settings = load_train_settings(config, overrides)
    tiles = read_labels(settings.data.path, settings.data.mpp_um, settings.data.mixed)
    backbone = initial_backbone(settings.network, settings.fit.seed)
    features = find_recipe(settings.network.recipe)
    samples = prepare(tiles, features, backbone, settings.crops)
    metrics = leave_case_out_figures(samples, settings)
    fitted = fit(samples, settings.network, settings.fit, settings.fit.seed)
    spec = describe(samples, settings, features, fitted.standardise, metrics)
    spec = save_checkpoint(out, spec, Network(backbone, fitted.classifier).tensors())
    card = (out / settings.output.model_card).resolve()
    card.parent.mkdir(parents=True, exist_ok=True)
    write_text(card, render(spec, settings))
    log.info("model in %s, model card in %s", out, card)


def leave_case_out_figures(samples: Samples, settings: TrainSettings) -> dict[str, Any]:
    """Figures by tile, by crop and by case, each with mean and standard deviation over the test seeds."""
    seeds = settings.fit.test_seeds
    runs = [cross_predict(samples, settings, seed) for seed in seeds]
    crops = runs[0].shape[1]
    by_tile = [prob.mean(axis=1) for prob in runs]
    return {
        "protocol": "one case left out at a time, predictions pooled over the cases",
        "seeds": list(seeds),
        "n_tiles": len(samples.tiles),
        "n_crops_per_tile": crops,
        "tile": _over_seeds([tile_figures(samples.labels, prob) for prob in by_tile]),
        "crop": _over_seeds(
            [
                tile_figures(np.repeat(samples.labels, crops), prob.reshape(-1, prob.shape[-1]))
                for prob in runs
            ]
        ),
        "cases": {case: _case_figures(samples, by_tile, case) for case in cases_of(samples.tiles)},
    }


def describe(
    samples: Samples,
    settings: TrainSettings,
    features: Recipe,
    standardise: Standardiser,
    metrics: dict[str, Any],
) -> ModelSpec:
    """What the checkpoint says of itself."""
    network, data = settings.network, settings.data
    cases, n_tiles = cases_of(samples.tiles), len(samples.tiles)
    return ModelSpec(
        name=network.name,
        title=network.title,
        notice=network.notice.replace("{n_tiles}", str(n_tiles)).replace("{n_cases}", str(len(cases))),
        backbone=network.backbone,
        tile_px=settings.crops.tile_px,
        mpp=settings.crops.mpp_um,
        mean=network.mean,
        std=network.std,
        hidden=network.hidden,
        gate_hidden=network.gate_hidden,
        dropout=network.dropout,
        recipe=features,
        standardise=standardise,
        trained_on=TrainingData(data.source, data.doi, data.licence, data.centre, cases, n_tiles),
        metrics=metrics,
        created_with={name: version(name) for name in VERSIONED},
    )


def _over_seeds(runs: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: _mean_sd([run[name] for run in runs]) for name in runs[0]}


def _mean_sd(values: Sequence[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 4), "sd": round(float(np.std(values)), 4)}


def _case_figures(samples: Samples, by_tile: Sequence[NDArray[np.float64]], case: str) -> dict[str, Any]:
    """Labels of a case, and its percent viable as labelled and as found, every tile counting alike."""
    rows = np.array([tile.case == case for tile in samples.tiles])
    labels = samples.labels[rows]
    truth = percent_viable(one_hot(labels))
    soft = [percent_viable(prob[rows]) for prob in by_tile]
    hard = [percent_viable(one_hot(prob[rows].argmax(axis=1))) for prob in by_tile]
    return {
        "tiles": {name: int((labels == at).sum()) for at, name in enumerate(CLASSES)},
        "percent_viable": {
            "truth": None if np.isnan(truth) else round(truth, 2),
            "soft": _mean_sd(soft),
            "hard": None if np.isnan(hard).any() else _mean_sd(hard),
        },
    }
