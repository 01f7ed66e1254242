from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.helpers.phantom_model import STEEPNESS, phantom_network, phantom_spec
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.network import LEAST_STD, Classifier, Logits, Network, Scale, Shape, mean_prob
from wsi_necrosis.slides.phantom import phantom_tiles


def test_the_phantom_backbone_gives_mean_colours() -> None:
    rng = np.random.default_rng(7)
    pixels = np.concatenate([phantom_tiles(name, 4, 32, rng) for name in (*CLASSES, "glass")])
    with torch.inference_mode():
        pooled = phantom_network(phantom_spec()).backbone(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(pooled[:, :3], pixels.mean(axis=(1, 2)) / 255, rtol=1e-4)
    assert not pooled[:, 3:].any()
    assert STEEPNESS > 10


def test_heads_multiply_to_three_classes() -> None:
    logits = Logits(
        torch.log(torch.tensor([[0.2, 0.8]])), torch.log(torch.tensor([[0.25, 0.75]])), torch.ones(1, 2)
    )
    np.testing.assert_allclose(logits.prob().numpy(), [[0.2, 0.2, 0.6]], rtol=1e-6)


def test_flat_heads_are_one_softmax() -> None:
    shape = Shape(0, 3, "radiomics", "flat", 8, 1, 0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = Classifier(shape).eval()
    z = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, -4.0]])
    with torch.inference_mode():
        prob = mean_prob(classifier(z[:, :0], z))
        flat = classifier.heads[0].flat(classifier.radiomics(z)).softmax(dim=1)
    np.testing.assert_allclose(prob.numpy(), flat.numpy(), atol=1e-6)


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ModelError, match="no backbone 'resnet_of_dreams'"):
        Network.of(replace(phantom_spec(), backbone="resnet_of_dreams"))


@pytest.mark.parametrize("fusion", ["gate", "concat"])
def test_branches_without_hidden_layers_cannot_be_joined(fusion: str) -> None:
    with pytest.raises(ModelError, match=f"fusion '{fusion}' joins hidden layers"):
        Shape(4, 3, fusion, "hierarchical", 0, 4, 0.0)


@pytest.mark.parametrize("hidden", [0, 8])
@pytest.mark.parametrize("heads", ["hierarchical", "flat"])
def test_under_mean_each_branch_answers_by_itself(hidden: int, heads: str) -> None:
    classifier = Classifier(Shape(4, 3, "mean", heads, hidden, 4, 0.0)).eval()
    pooled, z = torch.randn(5, 4), torch.randn(5, 3)
    with torch.inference_mode():
        image, radiomics = classifier(pooled, z)
        other = classifier(pooled, z + 1)
        prob = mean_prob((image, radiomics))
    assert torch.equal(image.coarse, other[0].coarse)
    assert not torch.equal(radiomics.coarse, other[1].coarse)
    np.testing.assert_allclose(prob.sum(dim=1), 1, rtol=1e-6)
    np.testing.assert_allclose(prob, (image.prob() + radiomics.prob()) / 2, rtol=1e-6)
    assert torch.equal(image.gate, torch.full((5, 2), 0.5))


def test_image_features_are_scaled_and_constant_ones_do_not_count() -> None:
    features = torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, LEAST_STD / 10], [2.0, 5.0, 0.0]])
    scale = Scale(3)
    scale.fit(features)
    scaled = scale(features)
    np.testing.assert_allclose(scaled[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[:, 0].std(correction=0), 1, rtol=1e-6)
    assert not scaled[:, 1:].any()
    assert torch.isfinite(scale.factor.half()).all()
