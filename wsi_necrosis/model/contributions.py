"""Which radiomic features of a tile speak for viable tumour, and which against it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.model.spec import ModelSpec

SHARES: Mapping[str, float] = {"mean": 0.5, "radiomics": 1.0}  # of the radiomics branch in the probabilities
LEAST = 1e-6  # probability; keeps log-odds finite

Array = NDArray[np.float64]


def can_explain(spec: ModelSpec) -> bool:
    """Whether the radiomics branch has heads of its own; where branches are joined before, the image is needed, too."""
    return spec.fusion in SHARES and bool(spec.feature_names)


def contributions(
    spec: ModelSpec, tensors: Mapping[str, NDArray[Any]], features: NDArray[Any], prob: NDArray[Any]
) -> tuple[Array, Array]:
    """Change in the log-odds of viable tumour when a feature is set to its training median.

    Parameters
    ----------
    spec : ModelSpec
        The model; `can_explain` must be true of it.
    tensors : mapping
        Its weights, as `checkpoint.load_tensors` gives them.
    features : array (n, F)
        Radiomic features of n tiles, in the order of the recipe; missing ones (NaN) count as the median.
    prob : array (n, 3)
        Class probabilities that the model gave these tiles.

    Returns
    -------
    (float64 array (n, F), float64 array (n, F))
        Log-odds as they are less those with the feature at its median, so that above 0 the feature speaks for viable;
        and the features as robust standard scores over the training tiles.
    """
    z = spec.standardise.apply(np.asarray(features, np.float64))
    n, count = z.shape
    changed = np.repeat(z[:, None], count, axis=1)
    changed[:, np.arange(count), np.arange(count)] = 0
    share = SHARES[spec.fusion]
    now = _viable(spec, tensors, z)[:, None]
    then = _viable(spec, tensors, changed.reshape(-1, count)).reshape(n, count)
    found = np.asarray(prob, np.float64)[:, VIABLE, None]
    return _log_odds(found) - _log_odds(found + share * (then - now)), z


def _viable(spec: ModelSpec, tensors: Mapping[str, NDArray[Any]], z: Array) -> Array:
    """Probability of viable tumour by the radiomics branch alone: mean over the members."""
    heads = 1 if spec.fusion == "mean" else 0
    members = [_of_member(spec, tensors, z, f"members.{at}.", heads) for at in range(spec.members)]
    return np.asarray(np.mean(members, axis=0))


def _of_member(
    spec: ModelSpec, tensors: Mapping[str, NDArray[Any]], z: Array, member: str, heads: int
) -> Array:
    def linear(x: Array, name: str) -> Array:
        weight, bias = (tensors[f"{member}{name}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        return np.asarray(x @ weight.T + bias)

    if spec.hidden:
        for layer in ("radiomics.0", "radiomics.3"):
            z = np.maximum(linear(z, layer), 0)
    if spec.heads == "flat":
        return _softmax(linear(z, f"heads.{heads}.flat"))[:, VIABLE]
    coarse, fine = (_softmax(linear(z, f"heads.{heads}.{name}"))[:, 1] for name in ("coarse", "fine"))
    return coarse * fine


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _log_odds(prob: Array) -> Array:
    inside = np.clip(prob, LEAST, 1 - LEAST)
    return np.asarray(np.log(inside / (1 - inside)))
