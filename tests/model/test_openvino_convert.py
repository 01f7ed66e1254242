from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.openvino_convert import write_network

SIDE, FEATURES = 32, 3


class Unsupported(nn.Module):
    def forward(self, tiles: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.linalg.eigvals(tiles[..., 0].double()).real[:, :3], z


def test_a_network_that_cannot_be_converted_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"OpenVINO cannot convert this model.*model.backend=torch"):
        write_network(Unsupported(), tmp_path, SIDE, FEATURES)


def test_a_conversion_that_fails_leaves_the_log_as_it_is(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with pytest.raises(ModelError):
        write_network(Unsupported(), tmp_path, SIDE, FEATURES)
    assert (root.level, root.filters, root.handlers) == before
