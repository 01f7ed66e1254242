from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import KINDS, predict_tiles, save_random_model
from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.calibration import Temperature, entropy
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.tiling.foreground import foreground

SIDE = 32
PURE = (*CLASSES, "glass")


def side_by_side(left: np.ndarray, right: np.ndarray, cut: int) -> np.ndarray:
    return np.concatenate([left[:, :, :cut], right[:, :, cut:]], axis=2)


@pytest.mark.parametrize("material", CLASSES)
def test_the_phantom_model_is_right_on_pure_tiles(
    model: TileModel, tiles: dict[str, np.ndarray], material: str
) -> None:
    found = predict_tiles(model, tiles[material])
    assert found.prob[:, CLASSES.index(material)].min() > 0.99
    assert found.prob.dtype == found.gate.dtype == np.float32
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found.gate, 0.5)


@pytest.mark.parametrize("material", CLASSES)
@pytest.mark.parametrize("cut", [8, 16])
def test_glass_in_a_tile_does_not_change_its_class(
    model: TileModel, tiles: dict[str, np.ndarray], material: str, cut: int
) -> None:
    found = predict_tiles(model, side_by_side(tiles["glass"], tiles[material], cut))
    assert found.prob[:, CLASSES.index(material)].min() > 0.99


@pytest.mark.parametrize(
    ("one", "other"), [(NON_TUMOUR, NON_VIABLE), (NON_TUMOUR, VIABLE), (NON_VIABLE, VIABLE)]
)
def test_borders_of_the_phantom_are_unbiased(
    model: TileModel, tiles: dict[str, np.ndarray], one: int, other: int
) -> None:
    """A border that sweeps through a tile gives each class half of the area, soft and hard."""
    left, right = tiles[CLASSES[one]], tiles[CLASSES[other]]
    prob = np.concatenate(
        [predict_tiles(model, side_by_side(left, right, cut)).prob for cut in range(SIDE + 1)]
    )
    soft = prob.mean(axis=0)
    hard = np.bincount(prob.argmax(axis=1), minlength=3) / len(prob)
    np.testing.assert_allclose(soft[[one, other]], 0.5, atol=0.01)
    np.testing.assert_allclose(hard[[one, other]], 0.5, atol=0.01)
    half = predict_tiles(model, side_by_side(left, right, SIDE // 2)).prob.mean(axis=0)
    np.testing.assert_allclose(half[[one, other]], 0.5, atol=0.1)


def test_the_shipped_phantom_model_is_that_of_the_helper() -> None:
    spec = load_spec("phantom")
    assert replace(spec, weights_sha256="", converted=None) == phantom_spec()
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
    other_batch = mixed.copy()
    other_batch[1:] = tiles["glass"][1:]
    again = model.predict(other_batch, features)
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


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind_predict(tmp_path: Path, tiles: dict[str, np.ndarray], kind: str) -> None:
    save_random_model(tmp_path / "model", kind)
    model = load_model(tmp_path / "model")
    pixels = np.concatenate([tiles[name][:4] for name in PURE])
    found = predict_tiles(model, pixels)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)
    assert found.prob.dtype == found.uncertainty.dtype == found.gate.dtype == found.ood.dtype == np.float32
    assert np.ptp(found.prob, axis=0).max() > 1e-3  # they depend on the tile
    assert not found.ood.any()
    np.testing.assert_array_equal(found.prob, predict_tiles(model, pixels).prob)
    sums = {"concat": np.nan, "image": 1, "radiomics": 1}.get(kind, 1)
    np.testing.assert_allclose(found.gate.sum(axis=1), sums, atol=1e-6)
    if kind in {"image", "radiomics"}:
        assert (found.gate[:, int(kind == "radiomics")] == 1).all()


def test_a_model_without_a_backbone_does_not_depend_on_pixels(
    tmp_path: Path, tiles: dict[str, np.ndarray]
) -> None:
    save_random_model(tmp_path / "model", "radiomics")
    model, pixels = load_model(tmp_path / "model"), tiles["viable"]
    features, _ = extract(pixels, foreground(pixels), model.spec.recipe, 1.0)
    blind = model.predict(np.zeros_like(pixels), features)
    np.testing.assert_array_equal(blind.prob, model.predict(pixels, features).prob)
    assert not any(name.startswith("backbone") for name in load_tensors(tmp_path / "model", model.spec))


def test_members_are_averaged(tmp_path: Path, tiles: dict[str, np.ndarray]) -> None:
    spec = save_random_model(tmp_path / "both", "ensemble")
    tensors = load_tensors(tmp_path / "both", spec)
    alone = []
    for member in ("0", "1"):
        own = {
            name.replace(f"members.{member}.", "members.0."): tensor
            for name, tensor in tensors.items()
            if name.startswith(("backbone.", f"members.{member}."))
        }
        save_checkpoint(tmp_path / member, replace(spec, members=1), own)
        alone.append(predict_tiles(load_model(tmp_path / member), tiles["viable"]))
    both = predict_tiles(load_model(tmp_path / "both"), tiles["viable"])
    assert not np.allclose(alone[0].prob, alone[1].prob)
    np.testing.assert_allclose(both.prob, (alone[0].prob + alone[1].prob) / 2, atol=1e-6)
    np.testing.assert_allclose(both.gate, (alone[0].gate + alone[1].gate) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", ["gate", "ensemble"])
@pytest.mark.parametrize("value", [0.25, 8.0])
def test_a_temperature_moves_the_uncertainty_and_nothing_else(
    tmp_path: Path, tiles: dict[str, np.ndarray], kind: str, value: float
) -> None:
    save_random_model(tmp_path / "raw", kind)
    save_random_model(tmp_path / "scaled", kind, calibration=Temperature(value))
    raw, found = (predict_tiles(load_model(tmp_path / name), tiles["viable"]) for name in ("raw", "scaled"))
    for name in ("prob", "gate", "ood"):
        np.testing.assert_array_equal(getattr(raw, name), getattr(found, name))
    np.testing.assert_allclose(raw.uncertainty, entropy(raw.prob), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, entropy(Temperature(value).apply(raw.prob)), atol=1e-6)
    assert np.abs(raw.uncertainty - found.uncertainty).max() > 0.01
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)


def test_ood_distance_is_that_of_the_tiles_and_changes_no_probability(tiles: dict[str, np.ndarray]) -> None:
    known = np.concatenate([describe(tiles[name]) for name in CLASSES])
    detector = OodDetector.fit(known, limit=2.0, shrinkage=0.1)
    spec = replace(phantom_spec(), ood=detector)
    plain = predict_tiles(
        TileModel(phantom_spec(), TorchRunner(phantom_network(phantom_spec()))), tiles["viable"]
    )
    found = predict_tiles(TileModel(spec, TorchRunner(phantom_network(spec))), tiles["viable"])
    np.testing.assert_array_equal(found.prob, plain.prob)
    np.testing.assert_array_equal(found.ood, detector.of(tiles["viable"]))
    assert found.ood.max() < 1
    inverted = predict_tiles(TileModel(spec, TorchRunner(phantom_network(spec))), 255 - tiles["viable"])
    assert inverted.ood.min() > 1
