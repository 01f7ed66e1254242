from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import KINDS, save_random_model
from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.model.backend_check import AGREEMENT_FILE, agreement, fixed_tiles
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.loading import TOLERANCE, choose_backend, load_model
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.ood import OodDetector, describe
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import Prediction, TileModel
from wsi_necrosis.model.torch_runner import TorchRunner
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.settings.loading import load_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.tiling.foreground import foreground

SIDE = 32
PURE = (*CLASSES, "glass")
OPENVINO = Backend("openvino", "cpu", "float32")
BFLOAT16 = Backend("torch", "cpu", "bfloat16")


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


@pytest.mark.parametrize("kind", KINDS)
def test_models_of_every_kind_predict(tmp_path: Path, tiles: dict[str, np.ndarray], kind: str) -> None:
    save_random_model(tmp_path / "model", kind)
    model = load_model(tmp_path / "model")
    pixels = np.concatenate([tiles[name][:4] for name in PURE])
    found = predict(model, pixels)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)
    assert found.prob.dtype == found.gate.dtype == found.ood.dtype == np.float32
    assert np.ptp(found.prob, axis=0).max() > 1e-3  # it looks at them
    assert not found.ood.any()
    np.testing.assert_array_equal(found.prob, predict(model, pixels).prob)
    sums = {"concat": np.nan, "image": 1, "radiomics": 1}.get(kind, 1)
    np.testing.assert_allclose(found.gate.sum(axis=1), sums, atol=1e-6)
    if kind in {"image", "radiomics"}:
        assert (found.gate[:, int(kind == "radiomics")] == 1).all()


def test_a_model_without_a_branch_does_not_look_there(tmp_path: Path, tiles: dict[str, np.ndarray]) -> None:
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
        alone.append(predict(load_model(tmp_path / member), tiles["viable"]))
    both = predict(load_model(tmp_path / "both"), tiles["viable"])
    assert not np.allclose(alone[0].prob, alone[1].prob)
    np.testing.assert_allclose(both.prob, (alone[0].prob + alone[1].prob) / 2, atol=1e-6)
    np.testing.assert_allclose(both.gate, (alone[0].gate + alone[1].gate) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", ["gate", "ensemble"])
def test_temperature_changes_probabilities_and_nothing_else(
    tmp_path: Path, tiles: dict[str, np.ndarray], kind: str
) -> None:
    save_random_model(tmp_path / "raw", kind)
    save_random_model(tmp_path / "sharp", kind, calibration=Temperature(0.25))
    raw, found = (predict(load_model(tmp_path / name), tiles["viable"]) for name in ("raw", "sharp"))
    for one, other in ((VIABLE, NON_VIABLE), (VIABLE, NON_TUMOUR)):
        odds = [np.log(of.prob[:, one] / of.prob[:, other]) for of in (raw, found)]
        np.testing.assert_allclose(odds[1], odds[0] / 0.25, rtol=1e-3, atol=1e-4)
    assert np.abs(raw.prob - found.prob).max() > 0.01
    np.testing.assert_array_equal(raw.gate, found.gate)
    np.testing.assert_array_equal(raw.ood, found.ood)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-6)


def test_novelty_is_that_of_the_tiles_and_changes_no_probability(tiles: dict[str, np.ndarray]) -> None:
    known = np.concatenate([describe(tiles[name]) for name in CLASSES])
    detector = OodDetector.fit(known, limit=2.0, shrinkage=0.1)
    spec = replace(phantom_spec(), ood=detector)
    plain = predict(TileModel(phantom_spec(), TorchRunner(phantom_network(phantom_spec()))), tiles["viable"])
    found = predict(TileModel(spec, TorchRunner(phantom_network(spec))), tiles["viable"])
    np.testing.assert_array_equal(found.prob, plain.prob)
    np.testing.assert_array_equal(found.ood, detector.of(tiles["viable"]))
    assert found.ood.max() < 1
    inverted = predict(TileModel(spec, TorchRunner(phantom_network(spec))), 255 - tiles["viable"])
    assert inverted.ood.min() > 1


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("missing", "members.0.coarse.bias is missing"),
        ("extra", "surplus is unexpected"),
        ("shape", r"members.0.coarse.bias has shape \(3,\), not \(2,\)"),
        ("fewer members", "members.1.image.0.weight is missing.* and .* more"),
        ("more members", "members.1.coarse.bias is unexpected.* and 16 more"),
        ("other heads", "members.0.flat.weight is missing"),
        ("format 1", "members.0.* is missing"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, fault: str, message: str) -> None:
    spec = phantom_spec()
    tensors = phantom_network(spec).tensors()
    if fault == "missing":
        del tensors["members.0.coarse.bias"]
    elif fault == "extra":
        tensors["surplus"] = np.zeros(1)
    elif fault == "shape":
        tensors["members.0.coarse.bias"] = np.zeros(3)
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
        predict(load_model(tmp_path / "model", backend), pixels) for backend in (REFERENCE, OPENVINO)
    )
    assert np.ptp(plain.prob, axis=0).max() > 1e-3
    np.testing.assert_allclose(found.prob, plain.prob, atol=1e-5)
    np.testing.assert_allclose(found.gate, plain.gate, atol=1e-5)
    np.testing.assert_array_equal(found.ood, plain.ood)
    assert agreement(tmp_path / "model", OPENVINO) < 1e-5


def test_a_network_is_converted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiles: dict[str, np.ndarray]
) -> None:
    """Later loads do not build it in torch, and the same checkpoint elsewhere is the same model."""
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    spec = save_random_model(tmp_path / "one", "image")
    first = predict(load_model(tmp_path / "one", OPENVINO), tiles["viable"])
    save_random_model(tmp_path / "two", "image")
    with monkeypatch.context() as patch:
        patch.setattr(Network, "of", lambda _: pytest.fail("built again"))
        again = predict(load_model(tmp_path / "two", OPENVINO), tiles["viable"])
    np.testing.assert_array_equal(again.prob, first.prob)
    (folder,) = (tmp_path / "cache").iterdir()
    told = json.loads((folder / AGREEMENT_FILE).read_text())
    assert told["about"]["model"] == spec.fingerprint
    assert told["about"]["versions"].keys() == {"wsi-necrosis", "torch", "timm", "openvino"}
    assert 0 <= told["largest_difference"] < 1e-5


def test_other_weights_are_another_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    save_random_model(tmp_path / "model", "radiomics")
    agreement(tmp_path / "model", OPENVINO)
    spec = load_spec(tmp_path / "model")
    tensors = {name: 2 * array for name, array in load_tensors(tmp_path / "model", spec).items()}
    save_checkpoint(tmp_path / "model", spec, tensors)
    agreement(tmp_path / "model", OPENVINO)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_backend_that_disagrees_is_refused_with_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 under the tolerance of float32; torch computes in it on every processor, if slowly."""
    monkeypatch.setattr("wsi_necrosis.model.backend.has_bfloat16", lambda device: True)
    save_random_model(tmp_path / "model", "gate")
    difference = agreement(tmp_path / "model", BFLOAT16)
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


def test_fixed_tiles_are_fixed_and_in_range(model: TileModel) -> None:
    pixels, features = fixed_tiles(model.spec)
    assert len(pixels) == len(features) == 16
    np.testing.assert_array_equal(fixed_tiles(model.spec)[0], pixels)
    np.testing.assert_array_equal(fixed_tiles(model.spec)[1], features)
    z = model.spec.standardise.apply(features)
    assert np.abs(z).max() <= model.spec.standardise.clip
    assert z.std() == pytest.approx(1, abs=0.3)


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
    found = predict(model, pixels)
    np.testing.assert_allclose(found.prob.sum(axis=1), 1, atol=1e-5)
    assert "not for clinical use" in model.spec.notice
