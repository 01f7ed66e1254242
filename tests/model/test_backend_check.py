from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import predict_tiles, save_random_model
from wsi_necrosis.cache import SEAL
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model import openvino_convert
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.backend_check import fixed_tiles
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
    """The same checkpoint elsewhere is the same model, and its place in the cache says nothing of its name."""
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    save_random_model(tmp_path / "one", "image")
    first = predict_tiles(load_model(tmp_path / "one", OPENVINO), tiles["viable"])
    save_random_model(tmp_path / "two", "image")
    with monkeypatch.context() as patch:
        patch.setattr(openvino_convert, "write_network", lambda *_: pytest.fail("converted again"))
        again = predict_tiles(load_model(tmp_path / "two", OPENVINO), tiles["viable"])
    np.testing.assert_array_equal(again.prob, first.prob)
    (folder,) = (tmp_path / "cache").iterdir()
    assert re.fullmatch("[0-9a-f]{32}", folder.name)


def _seal(folder: Path) -> None:
    """Make a forged folder look whole."""
    found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != SEAL}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in found.items()}
    (folder / SEAL).write_text(json.dumps(hashes))


@pytest.mark.parametrize("forged", ["another network", "no network", "empty"])
def test_a_forged_cache_is_not_believed(
    forged: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tiles: dict[str, np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    save_random_model(tmp_path / "one", "image")
    first = predict_tiles(load_model(tmp_path / "one", OPENVINO), tiles["viable"])
    (place,) = (tmp_path / "cache").iterdir()
    if forged == "another network":
        spec = load_spec(tmp_path / "one")
        other = Network.of(spec).eval()  # of other random weights
        tensors = load_tensors(tmp_path / "one", spec)
        openvino_convert.write_network(other, tensors, place, spec.tile_px, len(spec.feature_names))
    else:
        (place / "network.xml").write_text("<net/>" if forged == "no network" else "")
    _seal(place)
    again = predict_tiles(load_model(tmp_path / "one", OPENVINO), tiles["viable"])
    np.testing.assert_array_equal(again.prob, first.prob)
    assert "converted network of model" in caplog.text
    caplog.clear()
    load_model(tmp_path / "one", OPENVINO)
    assert "converted network of model" not in caplog.text


def test_a_cache_that_others_may_write_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    save_random_model(tmp_path / "one", "image")
    load_model(tmp_path / "one", OPENVINO)
    assert not list((tmp_path / "cache").iterdir())
    assert "other users may write to the cache" in caplog.text


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
