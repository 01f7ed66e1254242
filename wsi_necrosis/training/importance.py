"""How much predictions for left-out cases depend on each group of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.metrics.figures import tile_figures
from wsi_necrosis.radiomics.recipe import Recipe
from wsi_necrosis.training.leave_case_out import FitSetup, certain_labels, each_fold
from wsi_necrosis.training.samples import Samples


def importance(
    setup: FitSetup, seeds: Sequence[int], rng: np.random.Generator, pool: Executor | None = None
) -> dict[str, float]:
    """By how much the log loss of held-out tiles grows when a group of inputs is shuffled among a case's crops.

    Groups are the image, all radiomics, and the radiomics of each channel, mask and family. A group whose
    information is also in others appears less important. Breiman L (2001), Random forests, Machine Learning 45:5-32.
    """
    samples = setup.samples
    names = ("none", *_groups(samples.recipe))
    prob = np.zeros((len(seeds), len(names), len(samples), len(CLASSES)))
    shuffle = partial(_leave_out_shuffled, entropy=int(rng.integers(2**32)))
    for (at, _, rows), found in each_fold(shuffle, setup, seeds, pool):
        prob[at][:, rows] = found
    losses = np.array([[_tile_loss(samples, one) for one in of_seed] for of_seed in prob])
    grown = (losses[:, 1:] - losses[:, :1]).mean(axis=0)
    return dict(zip(names[1:], grown.tolist(), strict=True))


def _leave_out_shuffled(setup: FitSetup, case: str, seed: int, entropy: int) -> NDArray[np.float64]:
    """Probabilities (1 + groups, k, 3) for a case's k crops, as they are and with each group of inputs shuffled."""
    fitted, test = setup.without(case, seed)
    rng = np.random.default_rng(
        [entropy, seed, sorted({tile.case for tile in setup.samples.tiles}).index(case)]
    )
    inputs = [test, *(_shuffled(test, columns, rng) for columns in _groups(test.recipe).values())]
    return np.stack([setup.predict(fitted, each).prob for each in inputs])


def _groups(recipe: Recipe) -> dict[str, NDArray[np.int64]]:
    """Columns of each group; the image has none."""
    found: dict[str, list[int]] = {}
    for column, feature in enumerate(recipe.features):
        name = (
            "nuclei" if feature.family == "nuclei" else f"{feature.channel} {feature.family} ({feature.mask})"
        )
        found.setdefault(name, []).append(column)
    together = {"radiomics": list(range(len(recipe.features)))} if recipe.features else {}
    every = {"image": [], **together, **found}
    return {name: np.array(columns, np.int64) for name, columns in every.items()}


def _shuffled(samples: Samples, columns: NDArray[np.int64], rng: np.random.Generator) -> Samples:
    order = rng.permutation(len(samples))
    if not len(columns):  # the image: its features, or the pixels that a tuned backbone sees
        return replace(samples, pixels=samples.pixels[order], pooled=samples.pooled[order])
    features = samples.features.copy()
    features[..., columns] = features[order][..., columns]
    return replace(samples, features=features)


def _tile_loss(samples: Samples, prob: NDArray[np.float64]) -> float:
    certain, labels = certain_labels(samples.tiles)
    loss = tile_figures(labels, samples.by_tile(prob)[certain])["log_loss"]
    return float("nan") if loss is None else loss
