from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import predict_tiles, save_random_model
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.backend_check import DIFFERENCE_FILE, fixed_tiles
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.loading import largest_difference, load_model
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel

OPENVINO = Backend("openvino", "cpu", "float32")
BFLOAT16 = Backend("torch", "cpu", "bfloat16")


def test_a_network_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiles: dict[str, np.ndarray]
) -> None:
    """Later loads do not build it in torch, and the same checkpoint elsewhere is the same model."""
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    spec = save_random_model(tmp_path / "one", "image")
    first = predict_tiles(load_model(tmp_path / "one", OPENVINO), tiles["viable"])
    save_random_model(tmp_path / "two", "image")
    with monkeypatch.context() as patch:
        patch.setattr(Network, "of", lambda _: pytest.fail("built again"))
        again = predict_tiles(load_model(tmp_path / "two", OPENVINO), tiles["viable"])
    np.testing.assert_array_equal(again.prob, first.prob)
    (folder,) = (tmp_path / "cache").iterdir()
    recorded = json.loads((folder / DIFFERENCE_FILE).read_text())
    assert recorded["about"]["model"] == spec.fingerprint
    assert recorded["about"]["versions"].keys() == {
        "wsi-necrosis",
        "torch",
        "torchvision",
        "timm",
        "openvino",
    }
    assert 0 <= recorded["largest_difference"] < 1e-5


def test_other_weights_are_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    save_random_model(tmp_path / "model", "radiomics")
    largest_difference(tmp_path / "model", OPENVINO)
    spec = load_spec(tmp_path / "model")
    tensors = {name: 2 * array for name, array in load_tensors(tmp_path / "model", spec).items()}
    save_checkpoint(tmp_path / "model", spec, tensors)
    largest_difference(tmp_path / "model", OPENVINO)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_backend_that_disagrees_is_refused_with_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 under the tolerance of float32; torch computes in it on every processor, if slowly."""
    monkeypatch.setattr("wsi_necrosis.model.backend.has_bfloat16", lambda device: True)
    save_random_model(tmp_path / "model", "gate")
    difference = largest_difference(tmp_path / "model", BFLOAT16)
    assert 1e-4 < difference < 0.05
    model = load_model(tmp_path / "model", BFLOAT16)
    shift = (
        model.predict(*fixed_tiles(model.spec)).prob
        - load_model(tmp_path / "model").predict(*fixed_tiles(model.spec)).prob
    )
    assert np.abs(shift).max() == pytest.approx(difference)
    monkeypatch.setattr("wsi_necrosis.model.loading.TOLERANCE", {"bfloat16": 1e-4})
    with pytest.raises(
        ModelError, match=f"by up to {difference:.2g}, more than the 0.0001.*model.backend=torch"
    ):
        load_model(tmp_path / "model", BFLOAT16)


def test_fixed_tiles_are_fixed_and_in_range(model: TileModel) -> None:
    pixels, features = fixed_tiles(model.spec)
    assert len(pixels) == len(features) == 16
    np.testing.assert_array_equal(fixed_tiles(model.spec)[0], pixels)
    np.testing.assert_array_equal(fixed_tiles(model.spec)[1], features)
    z = model.spec.standardise.apply(features)
    assert np.abs(z).max() <= model.spec.standardise.clip
    assert z.std() == pytest.approx(1, abs=0.3)
