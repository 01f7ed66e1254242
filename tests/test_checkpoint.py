from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_necrosis.checkpoint import (
    SHIPPED,
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    Standardiser,
    load_spec,
    load_tensors,
    model_folder,
    save_checkpoint,
    shipped_models,
)
from wsi_necrosis.errors import ModelError

SPEC = load_spec("phantom")
TENSORS = {"weight": np.array([[1.0, -2.5]], np.float32), "count": np.array(7, np.int64)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", SPEC, TENSORS)
    return tmp_path / "model"


def edit(folder: Path, **changes: object) -> None:
    path = folder / SPEC_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


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
    assert shipped_models() == ("default", "phantom")
    for name in shipped_models():
        spec = load_spec(name)
        assert spec.name == name
        load_tensors(name, spec)
        assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < 20e6


def test_a_description_is_read_without_torch() -> None:
    code = (
        "import sys; from wsi_necrosis.checkpoint import load_spec; load_spec('phantom'); "
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


def test_another_format_version_is_refused(folder: Path) -> None:
    edit(folder, format_version=2)
    with pytest.raises(ModelError, match="format version 2"):
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
        ("calibration", {"kind": "magic"}, "calibration"),
        ("classes", ["viable", "non_viable", "non_tumour"], "classes"),
    ],
)
def test_a_damaged_description_names_the_place(folder: Path, key: str, value: object, where: str) -> None:
    edit(folder, **{key: value})
    with pytest.raises(ModelError, match=where):
        load_spec(folder)


def test_features_must_be_those_of_the_recipe(folder: Path) -> None:
    edit(folder, standardise={"names": ["a"], "centre": [0], "scale": [1], "clip": 5})
    with pytest.raises(ModelError, match="recipe"):
        load_spec(folder)


def test_weights_of_another_hash_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    with pytest.raises(ModelError, match="SHA-256"):
        load_tensors(folder, load_spec(folder))


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
