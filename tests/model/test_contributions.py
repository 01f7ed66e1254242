from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from wsi_necrosis.model.contributions import can_explain, contributions
from wsi_necrosis.model.network import Classifier, Shape, mean_prob
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.standardise import Standardiser

F, POOLED, N = 4, 5, 6


@pytest.mark.parametrize("fusion", ["mean", "radiomics"])
@pytest.mark.parametrize("heads", ["hierarchical", "flat"])
@pytest.mark.parametrize("hidden", [0, 3])
def test_the_network_answers_so_with_the_feature_at_its_median(fusion: Any, heads: Any, hidden: int) -> None:
    torch.manual_seed(0)
    shape = Shape(POOLED if fusion == "mean" else 0, F, fusion, heads, hidden, 2, 0.0)
    members = [Classifier(shape).eval() for _ in range(2)]
    scale = Standardiser(tuple("abcd"), (1.0, 2.0, 3.0, 4.0), (0.5, 1.0, 2.0, 0.0), 5.0)
    spec: Any = SimpleNamespace(fusion=fusion, heads=heads, hidden=hidden, members=2, standardise=scale)
    tensors = {
        f"members.{at}.{name}": value.numpy()
        for at, member in enumerate(members)
        for name, value in member.state_dict().items()
    }
    pooled, features = torch.randn(N, shape.pooled), np.random.default_rng(0).normal(2, 2, (N, F))

    @torch.no_grad()
    def prob(x: np.ndarray) -> np.ndarray:
        z = torch.tensor(scale.apply(x), dtype=torch.float32)
        return torch.stack([mean_prob(member(pooled, z)) for member in members]).mean(dim=0).double().numpy()

    def log_odds(p: np.ndarray) -> np.ndarray:
        return np.log(p / (1 - p))

    found, z = contributions(spec, tensors, features, prob(features))
    np.testing.assert_allclose(z, scale.apply(features))
    for at, median in enumerate(scale.centre):
        changed = features.copy()
        changed[:, at] = median
        expected = log_odds(prob(features)[:, 2]) - log_odds(prob(changed)[:, 2])
        np.testing.assert_allclose(found[:, at], expected, atol=2e-5)
    assert (found[:, 3] == 0).all()  # nearly constant over the training tiles
    assert np.abs(found[:, :3]).max() > 0.01


def test_branches_that_are_joined_before_the_heads_are_not_explained() -> None:
    assert can_explain(load_spec("default"))
    assert not can_explain(load_spec("phantom"))
