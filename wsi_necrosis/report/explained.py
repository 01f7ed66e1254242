"""What radiomic features of single cells speak for viable tumour, and what against it, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.contributions import can_explain, contributions
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.scores.store import ScoreReader

MOST_NAMED = 3  # features on either side
LEAST = 0.005  # change in log-odds that is worth a word

Cell = tuple[int, int]


@dataclass(frozen=True)
class Explained:
    """Features that speak for viable tumour in a cell and against it, each with its contribution and its position."""

    speaks_for: str
    against: str


def explain(
    reader: ScoreReader, model: str, sha256: str, cells: Sequence[Cell], prob: NDArray[Any]
) -> tuple[dict[Cell, Explained], str]:
    """Contributions of radiomic features to the answers for some cells.

    Parameters
    ----------
    reader : ScoreReader
        The store that holds the features.
    model : str
        Name of the model; one that does not come with the package is not found by it.
    sha256 : str
        Of its weights.
    cells : sequence of (row, col)
        The cells.
    prob : array (n, 3)
        Class probabilities of these cells.

    Returns
    -------
    (dict, str)
        What speaks for and against by cell, and a sentence: what the numbers are, or why there are none.
    """
    try:
        spec = load_spec(model)
        if spec.weights_sha256 != sha256:
            raise ModelError("another version of it is installed")
        if not can_explain(spec):
            return {}, "Radiomics: this model joins them with the image before it answers, or has none."
        tensors = load_tensors(model, spec)
    except ModelError:
        return {}, "Radiomics: the model is not at hand, so that what they say cannot be told from the image."
    if not cells:
        return {}, ""
    features, gate = reader.features_of(cells)
    found, z = contributions(spec, tensors, features, prob)
    common, names = _shortened(spec.feature_names)
    explained = {
        cell: Explained(_named(names, found[at], z[at]), _named(names, -found[at], z[at]))
        for at, cell in enumerate(cells)
    }
    share = float(np.nanmean(gate[:, 1])) if np.isfinite(gate).any() else 1.0
    of = f" ({common})" if common else ""
    return explained, (
        f"Radiomics{of} have {100 * share:.0f} % of the weight. A number is by how much the log-odds of viable tumour "
        "are higher or lower than with the feature at its median over the training tiles; in brackets, how many "
        "robust standard deviations it lies from that median."
    )


def _shortened(names: Sequence[str]) -> tuple[str, list[str]]:
    """The words that all names begin with (channel, mask, family), and the names without them."""
    words = [name.split("_") for name in names]
    count = 0
    while len({tuple(each[: count + 1]) for each in words}) == 1 and all(
        len(each) > count + 1 for each in words
    ):
        count += 1
    return " ".join(words[0][:count]), [" ".join(each[count:]) for each in words]


def _named(names: Sequence[str], contribution: NDArray[Any], z: NDArray[Any]) -> str:
    """The largest contributions above zero, as text."""
    best = np.argsort(-contribution, kind="stable")[:MOST_NAMED]
    return ", ".join(
        f"{names[at]} {abs(contribution[at]):.2f} ({z[at]:+.1f})" for at in best if contribution[at] >= LEAST
    )
