from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import KINDS, predict_tiles, save_random_model
from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.model.backend_check import TOLERANCE, fixed_tiles
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.loading import choose_backend, largest_difference, load_model
from wsi_necrosis.model.network import Network
from wsi_necrosis.settings.run import load_settings

OPENVINO = Backend("openvino", "cpu", "float32")
PURE = (*CLASSES, "glass")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "members.0.heads.0.coarse.bias is missing"),
        ("extra", "surplus is unexpected"),
        ("shape", r"members.0.heads.0.coarse.bias has shape \(3,\), not \(2,\)"),
        ("fewer members", "members.1.image.0.weight is missing.* and .* more"),
        ("more members", "members.1.gate.0.bias is unexpected.* and 16 more"),
        ("other heads", "members.0.heads.0.flat.weight is missing"),
        ("format 1", "members.0.* is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str, message: str) -> None:
    spec = phantom_spec()
    tensors = phantom_network(spec).tensors()
    if fault == "missing":
        del tensors["members.0.heads.0.coarse.bias"]
    elif fault == "extra":
        tensors["surplus"] = np.zeros(1)
    elif fault == "shape":
        tensors["members.0.heads.0.coarse.bias"] = np.zeros(3)
    elif fault == "fewer members":
        spec = replace(spec, members=2)
    elif fault == "more members":
        tensors = Network.of(replace(spec, members=2)).tensors()
    elif fault == "other heads":
        spec = replace(spec, heads="flat")
    else:
        tensors = {name.replace("members.0.", "classifier."): tensor for name, tensor in tensors.items()}
    save_checkpoint(tmp_path / "model", spec, tensors)
    with pytest.raises(ModelError, match=message) as refusal:
        load_model(tmp_path / "model")
    assert "the weights of model 'phantom' do not fit its description" in str(refusal.value)
    assert "fetch the model again" in str(refusal.value)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"macenko"}))
def test_openvino_agrees_with_torch_on_models_of_every_kind(
    tmp_path: Path, tiles: dict[str, np.ndarray], kind: str
) -> None:
    save_random_model(tmp_path / "model", kind)
    pixels = np.concatenate([tiles[name][:4] for name in PURE])
    plain, found = (
        predict_tiles(load_model(tmp_path / "model", backend), pixels) for backend in (REFERENCE, OPENVINO)
    )
    assert np.ptp(plain.prob, axis=0).max() > 1e-3
    np.testing.assert_allclose(found.prob, plain.prob, atol=1e-5)
    np.testing.assert_allclose(found.gate, plain.gate, atol=1e-5)
    np.testing.assert_array_equal(found.ood, plain.ood)
    assert largest_difference(tmp_path / "model", OPENVINO) < 1e-5


@pytest.mark.parametrize(("allowed", "dtype"), [(0.05, "bfloat16"), (1e-7, "float32")])
def test_a_model_that_bfloat16_would_change_too_much_keeps_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float, dtype: str
) -> None:
    monkeypatch.setattr("wsi_necrosis.model.backend.has_bfloat16", lambda device: True)
    monkeypatch.setattr("wsi_necrosis.model.loading.TOLERANCE", {"bfloat16": allowed})
    save_random_model(tmp_path / "model", "gate")
    settings = load_settings(
        overrides=[f"model.name={tmp_path / 'model'}", "model.device=cpu", "model.backend=torch"]
    ).model
    assert choose_backend(settings) == Backend("torch", "cpu", dtype)


@pytest.mark.parametrize(("allowed", "name"), [(1e-4, "openvino"), (-1, "torch")])
def test_a_model_that_openvino_would_change_too_much_stays_with_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float, name: str
) -> None:
    """Unless OpenVINO is asked for by name."""
    monkeypatch.setattr("wsi_necrosis.model.loading.TOLERANCE", {"float32": allowed})
    save_random_model(tmp_path / "model", "gate")
    given = [f"model.name={tmp_path / 'model'}", "model.device=cpu", "model.dtype=float32"]
    assert choose_backend(load_settings(overrides=given).model) == Backend(name, "cpu", "float32")
    asked = load_settings(overrides=[*given, "model.backend=openvino"]).model
    assert choose_backend(asked) == OPENVINO


@pytest.mark.slow
def test_the_default_model_is_the_same_on_openvino_in_any_thread() -> None:
    plain, found = load_model("default"), load_model("default", OPENVINO)
    pixels, features = fixed_tiles(plain.spec)
    expected = plain.predict(pixels, features).prob
    assert np.ptp(expected, axis=0).max() > 0.1
    with ThreadPoolExecutor(3) as pool:
        probs = [done.prob for done in pool.map(lambda _: found.predict(pixels, features), range(6))]
    np.testing.assert_allclose(probs[0], expected, atol=TOLERANCE["float32"] / 10)
    for prob in probs[1:]:
        np.testing.assert_array_equal(prob, probs[0])


@pytest.mark.slow
def test_the_shipped_default_model_runs() -> None:
    model = load_model("default")
    side = model.spec.tile_px
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    found = predict_tiles(model, pixels)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-5)
    assert "not for clinical use" in model.spec.notice
