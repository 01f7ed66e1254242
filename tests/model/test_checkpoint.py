from __future__ import annotations

import hashlib
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_checkpoint import SPEC, TENSORS, edit
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.spec import SPEC_FILE, WEIGHTS_FILE, load_spec


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


def test_weights_of_another_hash_are_refused(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS_FILE).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(data)
    spec = load_spec(folder)
    with pytest.raises(
        ModelError, match=r"SHA-256 .* belongs to another model; fetch all files of the model again"
    ):
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
