from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.models import save_random_model
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.checkpoint import load_tensors
from wsi_necrosis.model.openvino_convert import write_network
from wsi_necrosis.model.openvino_runner import OpenVinoRunner
from wsi_necrosis.model.spec import CONSTANTS_FILE, GRAPH_FILE, NETWORK_FILES
from wsi_necrosis.model.torch_runner import TorchRunner, build_network

SIDE, FEATURES = 32, 3


class Unsupported(nn.Module):
    def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigvals(tiles[..., 0].double()).real[:, :3], z


def test_a_network_that_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO cannot convert this model.*model.backend=torch"):
        write_network(Unsupported(), {}, tmp_path, SIDE, FEATURES)


def test_a_conversion_that_fails_leaves_the_log_as_it_is(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with pytest.raises(ModelError):
        write_network(Unsupported(), {}, tmp_path, SIDE, FEATURES)
    assert (root.level, root.filters, root.handlers) == before


class Affine(nn.Module):
    """A convolution and a BatchNorm, which OpenVINO would fuse, and numbers that float16 cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3)
        self.norm = nn.BatchNorm2d(5)
        self.register_buffer("third", torch.tensor([[1 / 3, 2 / 3, 1.0]]))

    def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.conv(tiles.permute(0, 3, 1, 2).float() / 255)).mean(dim=(2, 3))
        return (x[:, :3] * self.third).softmax(dim=1), z


def test_nothing_is_rounded_and_weights_are_not_written_twice(tmp_path: Path) -> None:
    """With tensors to share and without, the graph has the same answers, which are torch's."""
    torch.manual_seed(0)
    network = Affine().half().float().eval()
    network.third.copy_(torch.tensor([[1 / 3, 2 / 3, 1.0]]))
    tensors = {name: tensor.numpy().astype(np.float16) for name, tensor in network.state_dict().items()}
    rng = np.random.default_rng(0)
    tiles, z = rng.integers(0, 256, (4, SIDE, SIDE, 3), np.uint8), rng.random((4, FEATURES), np.float32)
    expected, _ = TorchRunner(network)(tiles, z)
    for name, shared in (("alone", {}), ("shared", tensors)):
        (tmp_path / name).mkdir()
        write_network(network, shared, tmp_path / name, SIDE, FEATURES)
        prob, _ = OpenVinoRunner(tmp_path / name, shared, "float32")(tiles, z)
        np.testing.assert_allclose(prob, expected, atol=1e-6)
    alone, shared = ((tmp_path / name / CONSTANTS_FILE).read_bytes() for name in ("alone", "shared"))
    kernel, third = tensors["conv.weight"].tobytes(), network.third.numpy().tobytes()
    assert kernel in alone
    assert kernel not in shared
    assert third in alone
    assert third in shared


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    spec = save_random_model(tmp_path / "model", "ensemble")
    tensors = load_tensors(tmp_path / "model", spec)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        network = build_network(spec, tensors)
        write_network(network, tensors, tmp_path / name, spec.tile_px, len(spec.feature_names))
    for name in NETWORK_FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert str(tmp_path).encode() not in (tmp_path / "one" / GRAPH_FILE).read_bytes()
