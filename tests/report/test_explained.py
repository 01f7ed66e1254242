from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.report.explained import explain

PROB = np.array([[0.1, 0.3, 0.6]])


def reader(features: np.ndarray, gate: float = 0.5) -> Any:
    """A store of one cell."""
    weights = np.array([[1 - gate, gate]])
    return SimpleNamespace(features_of=lambda cells: (features[None], weights))


def test_features_away_from_their_median_are_named() -> None:
    spec = load_spec("default")
    centre = np.array(spec.standardise.centre)
    at = spec.feature_names.index("luminance_tissue_firstorder_Entropy")
    centre[at] += 2 * spec.standardise.scale[at]
    found, said = explain(reader(centre), "default", spec.weights_sha256, [(3, 4)], PROB)
    words = found[3, 4].speaks_for + found[3, 4].against
    assert words.startswith("Entropy ")
    assert words.endswith("(+2.0)")
    assert "," not in words
    assert said.startswith("Radiomics (luminance tissue firstorder) have 50 % of the weight. ")


@pytest.mark.parametrize(
    ("model", "sha256", "words"),
    [
        ("default", "0" * 64, "the model is not at hand"),
        ("a model of someone", "0" * 64, "the model is not at hand"),
        ("phantom", load_spec("phantom").weights_sha256, "joins them with the image"),
    ],
)
def test_what_cannot_be_told_is_said(model: str, sha256: str, words: str) -> None:
    found, said = explain(reader(np.zeros(18)), model, sha256, [(3, 4)], PROB)
    assert found == {}
    assert words in said


def test_without_cells_nothing_is_said() -> None:
    spec = load_spec("default")
    assert explain(reader(np.zeros(18)), "default", spec.weights_sha256, [], PROB[:0]) == ({}, "")
