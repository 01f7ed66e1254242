from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.devices import needs_gpu
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.torch_runner import TorchRunner

SIDE = 8


class Small(nn.Module):
    """Means of colours as probabilities; memory for `most` tiles at a time."""

    def __init__(self, most: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.linear = nn.Linear(3, 3)
        self.most = most
        self.seen: list[int] = []

    def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        self.seen.append(len(tiles))
        if len(tiles) > self.most:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return self.linear(tiles.float().mean(dim=(1, 2)) / 255).softmax(dim=1), z[:, :2]


def tiles_and_features(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return rng.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8), rng.normal(size=(n, 4)).astype(
        np.float32
    )


@pytest.mark.parametrize(
    ("n", "most", "sizes"), [(16, 16, [16]), (16, 5, [16, 8, 4, 4, 4, 4]), (7, 3, [7, 3, 3, 3])]
)
def test_a_batch_is_halved_until_it_fits(n: int, most: int, sizes: list[int]) -> None:
    """The last part is filled up, so that all have one shape."""
    network = Small(most)
    tiles, z = tiles_and_features(n)
    prob, gate = TorchRunner(network)(tiles, z)
    assert network.seen == sizes
    network.most = n
    whole, _ = TorchRunner(network)(tiles, z)
    np.testing.assert_allclose(prob, whole, atol=1e-6)
    np.testing.assert_array_equal(gate, z[:, :2])
    assert prob.dtype == gate.dtype == np.float32


def test_a_batch_size_that_fitted_is_kept_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    network = Small(4)
    run = TorchRunner(network)
    with caplog.at_level(logging.WARNING):
        run(*tiles_and_features(8))
    assert "memory of cpu is too small for 8 tiles at a time; going on with 4" in caplog.text
    network.seen.clear()
    run(*tiles_and_features(8))
    run(*tiles_and_features(3))
    assert network.seen == [4, 4, 3]


def test_no_memory_for_one_tile_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"too small for a single tile.*--device cpu"):
        TorchRunner(Small(0))(*tiles_and_features(4))


def test_other_errors_pass() -> None:
    tiles, z = tiles_and_features(2)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        TorchRunner(Small(4))(tiles[..., :2], z)


def test_no_tiles_give_no_rows() -> None:
    prob, gate = TorchRunner(Small(4))(*tiles_and_features(0))
    assert prob.shape == (0, 3)
    assert gate.shape == (0, 2)


def test_the_dtype_is_that_of_the_backend() -> None:
    tiles, z = tiles_and_features(16)
    network = Small(16)
    exact, _ = TorchRunner(network)(tiles, z)
    rough, _ = TorchRunner(network, Backend("torch", "cpu", "bfloat16"))(tiles, z)
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 0.1


@needs_gpu
def test_a_gpu_gives_what_the_processor_gives() -> None:
    tiles, z = tiles_and_features(16)
    network = Small(16)
    expected, _ = TorchRunner(network)(tiles, z)
    found, _ = TorchRunner(network, Backend("torch", "cuda", "float32"))(tiles, z)
    np.testing.assert_allclose(found, expected, atol=1e-5)
