from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.ood import NUMBERS, OodDetector
from wsi_necrosis.model.spec import (
    SHIPPED,
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    list_models,
    load_spec,
    model_folder,
)
from wsi_necrosis.model.standardise import Standardiser

SPEC = load_spec("phantom")
UNIT = tuple(tuple(float(row == col) for col in range(NUMBERS)) for row in range(NUMBERS))
DETECTOR = OodDetector((0.0,) * NUMBERS, (1.0,) * NUMBERS, UNIT, 2.5)
FULL = replace(
    SPEC,
    fusion="concat",
    heads="flat",
    members=2,
    normalise="reinhard",
    calibration=Temperature(1.25),
    ood=DETECTOR,
    training={"fit": {"epochs": 3, "test_seeds": [1, 2]}},
)
DETECTOR_TREE = asdict(DETECTOR)
TENSORS = {"weight": np.array([[1.0, -2.5]], np.float32), "count": np.array(7, np.int64)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", SPEC, TENSORS)
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    path = folder / SPEC_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_part_of_a_description_survives(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path / "full", FULL, TENSORS)
    assert load_spec(tmp_path / "full") == saved == replace(FULL, weights_sha256=saved.weights_sha256)


@pytest.mark.parametrize(
    "change",
    [
        {"calibration": Temperature(0.8)},
        {"ood": replace(DETECTOR, limit=2.0)},
        {"ood": None},
        {"normalise": "macenko"},
        {"fusion": "gate"},
        {"heads": "hierarchical"},
        {"members": 1},
    ],
)
def test_what_decides_scores_makes_another_model(change: dict[str, object]) -> None:
    assert replace(FULL, **change).fingerprint != FULL.fingerprint


@pytest.mark.parametrize("change", [{"training": {}}, {"metrics": {"a": 1}}, {"title": "other"}])
def test_what_tells_of_a_model_does_not(change: dict[str, object]) -> None:
    assert replace(FULL, **change).fingerprint == FULL.fingerprint


def test_what_is_saved_is_loaded(folder: Path) -> None:
    spec = load_spec(folder)
    assert replace(spec, weights_sha256=SPEC.weights_sha256) == SPEC
    tensors = load_tensors(folder, spec)
    assert tensors["weight"].dtype == np.float16
    np.testing.assert_array_equal(tensors["weight"], TENSORS["weight"])
    assert tensors["count"] == 7
    assert sorted(path.name for path in folder.iterdir()) == [SPEC_FILE, WEIGHTS_FILE]


def test_saving_again_replaces_the_model_and_nothing_else(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    first = load_spec(folder)
    second = save_checkpoint(folder, SPEC, {"weight": np.ones(2, np.float32)})
    assert load_spec(folder) == second != first
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_same_weights_have_the_same_hash(folder: Path, tmp_path: Path) -> None:
    assert save_checkpoint(tmp_path / "again", SPEC, TENSORS) == load_spec(folder)


def test_both_shipped_models_describe_themselves() -> None:
    assert list_models() == ("default", "first-order", "phantom")
    for name in list_models():
        spec = load_spec(name)
        assert spec.name == name
        load_tensors(name, spec)
        assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < 20e6


def test_a_description_is_read_without_torch() -> None:
    code = (
        "import sys; from wsi_necrosis.model.spec import load_spec; load_spec('phantom'); "
        "print('torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder"])
def test_an_unknown_model_names_the_shipped_ones(name: str) -> None:
    with pytest.raises(ModelError, match="phantom"):
        load_spec(name)


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "x.pkl", "x.CKPT"])
def test_pickles_are_refused_whether_they_exist_or_not(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80")
    with pytest.raises(ModelError, match="pickle"):
        model_folder(tmp_path / name)


@pytest.mark.parametrize("name", [SPEC_FILE, WEIGHTS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load_tensors(folder, load_spec(folder))


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_format_version_is_refused(folder: Path, version: object) -> None:
    edit(folder, format_version=version, calibration={"kind": "none"})
    said = (
        rf"{folder / SPEC_FILE} has format version {version!r}, this program reads 2; use the program version"
    )
    with pytest.raises(ModelError, match=rf"{said} that made the model, or train it again"):
        load_spec(folder)


@pytest.mark.parametrize("key", ["name", "backbone", "recipe", "standardise", "trained_on", "mean"])
def test_a_missing_key_is_named(folder: Path, key: str) -> None:
    path = folder / SPEC_FILE
    tree = json.loads(path.read_text())
    del tree[key]
    path.write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=rf"model\.json is damaged at {key}: .*equired; train it again"):
        load_spec(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}"])
def test_a_description_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / SPEC_FILE).write_text(text)
    with pytest.raises(ModelError):
        load_spec(folder)


@pytest.mark.parametrize(
    ("key", "value", "where"),
    [
        ("tile_px", "big", "tile_px"),
        ("colour", 1, "colour"),
        ("recipe", {"name": "x"}, "recipe"),
        ("recipe", None, "recipe"),
        ("standardise", {"names": ["a"], "centre": [], "scale": [], "clip": 5}, "standardise"),
        ("calibration", {"kind": "magic"}, r"calibration\.kind: Unexpected"),
        ("calibration", {"value": 0}, "calibration: .*above 0"),
        ("calibration", {"value": float("nan")}, "calibration: .*finite"),
        ("novelty", {}, r"novelty\.centre: .*required"),
        ("novelty", DETECTOR_TREE | {"centre": [0.0] * 14}, "novelty: .*15 numbers"),
        ("novelty", DETECTOR_TREE | {"scale": [1.0] * 16}, "novelty: .*15 numbers"),
        ("novelty", DETECTOR_TREE | {"precision": [[1.0] * 15] * 14}, "novelty: .*15 numbers"),
        ("novelty", DETECTOR_TREE | {"precision": [[1.0] * 14] * 15}, "novelty: .*15 numbers"),
        ("novelty", DETECTOR_TREE | {"limit": 0.0}, "novelty: .*above 0"),
        ("novelty", DETECTOR_TREE | {"limit": float("nan")}, "novelty: .*finite"),
        ("novelty", DETECTOR_TREE | {"scale": [0.0] * 15}, "novelty: .*above 0"),
        ("novelty", DETECTOR_TREE | {"kind": "other"}, r"novelty\.kind: Unexpected"),
        ("fusion", "sum", "fusion: .*'radiomics'"),
        ("heads", "three", "heads: .*'flat'"),
        ("normalise", "vahadane", "normalise: .*'macenko'"),
        ("members", 0, "members: .*greater than or equal to 1"),
        ("classes", ["viable", "non_viable", "non_tumour"], "classes"),
    ],
)
def test_a_damaged_description_names_the_place(folder: Path, key: str, value: object, where: str) -> None:
    edit(folder, **{key: value})
    with pytest.raises(ModelError, match=where) as refusal:
        load_spec(folder)
    assert str(refusal.value).startswith(str(folder / SPEC_FILE))
    assert "train it" in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": ""}, "fusion 'gate' and no backbone; train it again"),
        ({"backbone": "", "fusion": "image"}, "fusion 'image' and no backbone"),
        ({"backbone": "", "fusion": "concat"}, "fusion 'concat' and no backbone"),
        ({"bare": True}, "fusion 'gate' and no radiomic feature"),
        ({"bare": True, "fusion": "radiomics", "backbone": ""}, "fusion 'radiomics' and no radiomic feature"),
        ({"fusion": "radiomics"}, "fusion 'radiomics' and a backbone all the same"),
    ],
)
def test_a_branch_must_have_something_to_look_at(folder: Path, change: dict, message: str) -> None:
    bare = {
        "recipe": SPEC.recipe.to_dict() | {"features": []},
        "standardise": {"names": [], "centre": [], "scale": [], "clip": 5.0},
    }
    edit(folder, **{key: value for key, value in change.items() if key != "bare"})
    if "bare" in change:
        edit(folder, **bare)
    with pytest.raises(ModelError, match=message):
        load_spec(folder)


@pytest.mark.parametrize("change", [{"fusion": "image"}, {"fusion": "radiomics", "backbone": ""}])
def test_one_branch_is_enough(folder: Path, change: dict) -> None:
    edit(folder, **change)
    assert load_spec(folder).fusion == change["fusion"]


def test_features_must_be_those_of_the_recipe(folder: Path) -> None:
    edit(folder, standardise={"names": ["a"], "centre": [0], "scale": [1], "clip": 5})
    with pytest.raises(ModelError, match="recipe"):
        load_spec(folder)


def test_weights_of_another_hash_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    spec = load_spec(folder)
    with pytest.raises(ModelError, match=r"SHA-256 .* belong to another model; fetch both files again"):
        load_tensors(folder, spec)


def test_weights_that_are_a_pickle_are_refused_whatever_their_name(folder: Path) -> None:
    data = pickle.dumps({"weight": [1.0]})
    (folder / WEIGHTS_FILE).write_bytes(data)
    edit(folder, weights_sha256=hashlib.sha256(data).hexdigest())
    spec = load_spec(folder)
    with pytest.raises(ModelError, match=r"is not a safetensors file .*; fetch the model again"):
        load_tensors(folder, spec)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_numbers_that_float16_cannot_hold_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(ModelError, match="'weight' is not finite"):
        save_checkpoint(tmp_path / "model", SPEC, {"weight": np.array([value])})
    assert not (tmp_path / "model").exists()


values = st.floats(-1e6, 1e6, allow_nan=False)


@given(arrays(np.float64, st.tuples(st.integers(2, 20), st.just(3)), elements=values))
def test_standard_scores_are_finite_and_clipped(features: np.ndarray) -> None:
    standardise = Standardiser.fit(features, ("a", "b", "c"), clip=5.0, guard=1e-6)
    z = standardise.apply(features)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= 5
    np.testing.assert_allclose(np.median(z, axis=0), 0, atol=1e-6)


def test_a_nearly_constant_feature_tells_nothing() -> None:
    features = np.c_[1000 + 1e-9 * np.arange(9.0), np.arange(9.0)]
    standardise = Standardiser.fit(features, ("flat", "real"), clip=5.0, guard=1e-6)
    assert standardise.scale[0] == 0
    z = standardise.apply(np.array([[2000.0, 8.0]]))
    np.testing.assert_allclose(z, [[0.0, (8 - 4) / (1.4826 * 2)]])


def test_missing_values_are_left_out_and_become_the_median() -> None:
    features = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [4.0, np.nan]])
    standardise = Standardiser.fit(features, ("a", "never"), clip=5.0, guard=1e-6)
    assert standardise.centre == (2.0, 0.0)
    np.testing.assert_array_equal(standardise.apply(np.array([[np.nan, 3.0]])), [[0, 0]])


@pytest.mark.parametrize("scale", [(-1.0,), (float("nan"),), ()])
def test_a_scale_must_make_sense(scale: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scale"):
        Standardiser(("a",), (0.0,), scale, 5.0)


def test_a_spec_is_frozen() -> None:
    assert isinstance(SPEC, ModelSpec)
    with pytest.raises(AttributeError):
        SPEC.tile_px = 1  # type: ignore[misc]
