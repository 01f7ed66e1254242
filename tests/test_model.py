from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.phantom_model import STEEPNESS, phantom_network, phantom_spec
from wsi_necrosis.checkpoint import load_spec, load_tensors, save_checkpoint
from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.errors import ModelError, UsageError
from wsi_necrosis.model import Logits, Network, Prediction, TileModel, choose_device, load_model
from wsi_necrosis.phantom import phantom_tiles
from wsi_necrosis.radiomics import extract
from wsi_necrosis.tissue import foreground

SIDE = 32
PURE = (*CLASSES, "glass")


@pytest.fixture(scope="module")
def model() -> TileModel:
    return load_model("phantom")


@pytest.fixture(scope="module")
def tiles() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(7)
    return {material: phantom_tiles(material, 24, SIDE, rng) for material in PURE}


def predict(model: TileModel, pixels: np.ndarray) -> Prediction:
    features, _ = extract(pixels, foreground(pixels), model.spec.recipe, model.spec.mpp)
    return model.predict(pixels, features)


def side_by_side(left: np.ndarray, right: np.ndarray, cut: int) -> np.ndarray:
    return np.concatenate([left[:, :, :cut], right[:, :, cut:]], axis=2)


@pytest.mark.parametrize("material", CLASSES)
def test_the_phantom_model_knows_pure_tiles(
    model: TileModel, tiles: dict[str, np.ndarray], material: str
) -> None:
    found = predict(model, tiles[material])
    assert found.prob[:, CLASSES.index(material)].min() > 0.99
    assert found.prob.dtype == found.gate.dtype == np.float32
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.gate, 0.5)


@pytest.mark.parametrize("material", CLASSES)
@pytest.mark.parametrize("cut", [8, 16])
def test_the_phantom_model_is_not_misled_by_glass(
    model: TileModel, tiles: dict[str, np.ndarray], material: str, cut: int
) -> None:
    found = predict(model, side_by_side(tiles["glass"], tiles[material], cut))
    assert found.prob[:, CLASSES.index(material)].min() > 0.99


@pytest.mark.parametrize(
    ("one", "other"), [(NON_TUMOUR, NON_VIABLE), (NON_TUMOUR, VIABLE), (NON_VIABLE, VIABLE)]
)
def test_borders_of_the_phantom_are_unbiased(
    model: TileModel, tiles: dict[str, np.ndarray], one: int, other: int
) -> None:
    """A border that sweeps through a tile gives each class half of the area, soft and hard."""
    left, right = tiles[CLASSES[one]], tiles[CLASSES[other]]
    prob = np.concatenate([predict(model, side_by_side(left, right, cut)).prob for cut in range(SIDE + 1)])
    soft = prob.mean(axis=0)
    hard = np.bincount(prob.argmax(axis=1), minlength=3) / len(prob)
    np.testing.assert_allclose(soft[[one, other]], 0.5, atol=0.01)
    np.testing.assert_allclose(hard[[one, other]], 0.5, atol=0.01)
    half = predict(model, side_by_side(left, right, SIDE // 2)).prob.mean(axis=0)
    np.testing.assert_allclose(half[[one, other]], 0.5, atol=0.1)


def test_the_phantom_backbone_gives_mean_colours(tiles: dict[str, np.ndarray]) -> None:
    pixels = np.concatenate(list(tiles.values()))
    with torch.inference_mode():
        pooled = phantom_network(phantom_spec()).backbone(torch.tensor(pixels)).numpy()
    np.testing.assert_allclose(pooled[:, :3], pixels.mean(axis=(1, 2)) / 255, rtol=1e-4)
    assert not pooled[:, 3:].any()
    assert STEEPNESS > 10


def test_the_shipped_phantom_model_is_what_its_maker_makes() -> None:
    spec = load_spec("phantom")
    assert replace(spec, weights_sha256="") == phantom_spec()
    shipped, made = load_tensors("phantom", spec), phantom_network(phantom_spec()).tensors()
    assert shipped.keys() == made.keys()
    for name, tensor in made.items():
        np.testing.assert_allclose(shipped[name], tensor, rtol=1e-3, err_msg=name)


def test_a_batch_of_the_same_shape_gives_the_same_bits(
    model: TileModel, tiles: dict[str, np.ndarray]
) -> None:
    mixed = side_by_side(tiles["viable"], tiles["non_viable"], 15)
    features, _ = extract(mixed, foreground(mixed), model.spec.recipe, 1.0)
    first = model.predict(mixed, features)
    other_company = mixed.copy()
    other_company[1:] = tiles["glass"][1:]
    again = model.predict(other_company, features)
    np.testing.assert_array_equal(first.prob[0], again.prob[0])
    np.testing.assert_array_equal(model.predict(mixed, features).prob, first.prob)


def test_read_only_tiles_and_missing_features_are_taken(
    model: TileModel, tiles: dict[str, np.ndarray]
) -> None:
    pixels = tiles["viable"].copy()
    pixels.flags.writeable = False
    found = model.predict(pixels, np.full((len(pixels), 3), np.nan))
    assert np.isfinite(found.prob).all()


def test_wrong_shapes_are_refused(model: TileModel) -> None:
    right = np.zeros((2, SIDE, SIDE, 3), np.uint8)
    with pytest.raises(ModelError, match="32 x 32"):
        model.predict(right[:, :16], np.zeros((2, 3)))
    with pytest.raises(ModelError, match="32 x 32"):
        model.predict(right.astype(np.float32), np.zeros((2, 3)))
    with pytest.raises(ModelError, match="3 features"):
        model.predict(right, np.zeros((2, 4)))
    with pytest.raises(ModelError, match="3 features"):
        model.predict(right, np.zeros((1, 3)))


def test_heads_multiply_to_three_classes() -> None:
    logits = Logits(
        torch.log(torch.tensor([[0.2, 0.8]])), torch.log(torch.tensor([[0.25, 0.75]])), torch.ones(1, 2)
    )
    np.testing.assert_allclose(logits.prob().numpy(), [[0.2, 0.2, 0.6]], rtol=1e-6)


def test_auto_finds_a_device_and_a_missing_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("auto") in {"cpu", "cuda", "mps"}
    assert choose_device("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="'cuda' is not available"):
        choose_device("cuda")
    with pytest.raises(UsageError, match="no device 'gpu'"):
        choose_device("gpu")


@pytest.mark.parametrize(
    ("fault", "message"),
    [("missing", "coarse.bias is missing"), ("extra", "surplus is unexpected"), ("shape", "has shape")],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str, message: str) -> None:
    tensors = phantom_network(phantom_spec()).tensors()
    if fault == "missing":
        del tensors["classifier.coarse.bias"]
    elif fault == "extra":
        tensors["surplus"] = np.zeros(1)
    else:
        tensors["classifier.coarse.bias"] = np.zeros(3)
    save_checkpoint(tmp_path / "model", phantom_spec(), tensors)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model")


def test_an_unknown_backbone_is_refused() -> None:
    with pytest.raises(ModelError, match="no backbone 'resnet_of_dreams'"):
        Network.of(replace(phantom_spec(), backbone="resnet_of_dreams"))


@pytest.mark.slow
def test_the_shipped_default_model_runs() -> None:
    model = load_model("default")
    side = model.spec.tile_px
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    found = predict(model, pixels)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-5)
    assert "not for clinical use" in model.spec.notice
