"""A checkpoint that holds its converted network: it runs without torch, and every backend is held to its answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import save_random_model
from tests.helpers.runs import MIN_TUMOUR, SMALL_PICTURES, run, trees_equal
from tests.helpers.small_checkpoint import edit
from tests.helpers.without_torch import without_torch
from wsi_necrosis.errors import MissingExtraError, ModelError
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.model.backend_check import fixed_tiles
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.conversion import OPENVINO, add_network
from wsi_necrosis.model.loading import choose_backend, largest_difference, load_model
from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import NETWORK_FILES, SPEC_FILE, load_spec
from wsi_necrosis.scores.slide_folder import SlideFolder
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_random_model(tmp_path / "model", "gate")
    return tmp_path / "model"


@pytest.fixture
def converted(folder: Path) -> Path:
    add_network(folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_checkpoint_holds_its_network_and_torchs_answers(folder: Path) -> None:
    plain, before = load_spec(folder), load_model(folder)
    spec = add_network(folder)
    assert spec == load_spec(folder)
    assert spec.fingerprint != plain.fingerprint
    assert replace(spec, converted=None) == plain
    assert spec.converted is not None
    np.testing.assert_array_equal(np.float32(spec.converted.answers), before.predict(*fixed_tiles(spec)).prob)
    assert spec.converted.made_with.keys() == {"wsi-necrosis", "openvino", "torch", "timm"}
    first = contents(folder)
    assert add_network(folder) == spec
    assert contents(folder) == first


def test_openvino_runs_it_without_building_it_in_torch(
    converted: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine that has never seen the model; and its numbers are torch's."""
    monkeypatch.setenv("WSI_NECROSIS_CACHE", str(tmp_path / "cache"))
    with monkeypatch.context() as patch:
        patch.setattr(Network, "of", lambda _: pytest.fail("built"))
        found = load_model(converted, OPENVINO)
        assert largest_difference(converted, OPENVINO) < 1e-5
    tiles, features = fixed_tiles(found.spec)
    again = load_model(converted).predict(255 - tiles, -features)  # others than those of the answers
    np.testing.assert_allclose(found.predict(255 - tiles, -features).prob, again.prob, atol=1e-5)


@pytest.mark.parametrize("backend", [REFERENCE, OPENVINO], ids=str)
def test_every_backend_is_held_to_the_stored_answers(converted: Path, backend: Backend) -> None:
    facts = json.loads((converted / SPEC_FILE).read_text())["converted"]
    facts["answers"][5][0] += 0.01
    edit(converted, converted=facts)
    with pytest.raises(ModelError, match=r"changes probabilities of model 'gate' by up to 0\.01") as refusal:
        load_model(converted, backend)
    way_out = (
        "versions that the model was made with: .*timm" if backend == REFERENCE else "model.backend=torch"
    )
    refusal.match(way_out)
    given = [f"model.name={converted}", "model.device=cpu", "model.dtype=float32"]
    assert (
        choose_backend(load_settings(overrides=given).model) == REFERENCE
    )  # where it is refused with its reason


def test_answers_for_other_tiles_are_refused(converted: Path) -> None:
    facts = json.loads((converted / SPEC_FILE).read_text())["converted"]
    edit(converted, converted={**facts, "answers": facts["answers"][:15]})
    with pytest.raises(ModelError, match=r"damaged at converted\.answers: .*at least 16"):
        load_model(converted, OPENVINO)


@pytest.mark.parametrize("name", NETWORK_FILES)
def test_a_damaged_or_missing_network_is_refused(converted: Path, name: str) -> None:
    data = (converted / name).read_bytes()
    (converted / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    for backend in (OPENVINO, REFERENCE):
        with pytest.raises(ModelError, match=rf"{name} has SHA-256 .* fetch all files of the model again"):
            load_model(converted, backend)
    (converted / name).unlink()
    with pytest.raises(ModelError, match=f"{name} cannot be read"):
        load_model(converted, OPENVINO)


def test_other_weights_leave_no_network_behind(converted: Path) -> None:
    spec = load_spec(converted)
    tensors = {name: 2 * array for name, array in load_tensors(converted, spec).items()}
    assert save_checkpoint(converted, spec, tensors).converted is None
    assert not any((converted / name).exists() for name in NETWORK_FILES)


def test_what_answers_otherwise_is_not_stored(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(folder)
    monkeypatch.setattr("wsi_necrosis.model.conversion.TOLERANCE", {"float32": -1.0})
    with pytest.raises(ModelError, match=r"model 'gate' changes probabilities by up to .*left without"):
        add_network(folder)
    assert contents(folder) == before


def test_openvino_is_needed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_necrosis.model.backend.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install openvino"):
        add_network(folder)


@pytest.mark.parametrize("kind", ["gate", "radiomics"])
def test_a_slide_has_the_same_bits_without_torch(tmp_path: Path, kind: str) -> None:
    save_random_model(tmp_path / "model", kind)
    add_network(tmp_path / "model")
    slide = tmp_path / "slide.tiff"
    write_phantom(slide, np.random.default_rng(0), side_mm=0.4)
    settings = [
        f"model.name={tmp_path / 'model'}",
        "model.device=cpu",
        "cluster.workers=1",
        MIN_TUMOUR,
        SMALL_PICTURES,
    ]
    given = [part for each in settings for part in ("--set", each)]
    done = without_torch("run", str(slide), "--out", str(tmp_path / "without"), "--quiet", *given)
    assert done.returncode == 0, done.stderr
    report = run(slide, tmp_path / "with", *settings)
    other = SlideFolder(tmp_path / "without" / "slides" / slide.name)
    assert report.result["provenance"]["inputs"]["backend"]["name"] == "openvino"
    assert np.nanstd(report.scores().prob) > 0
    assert trees_equal(report.folder / "scores.zarr", other.path / "scores.zarr")
    found = other.result()
    assert found["percent_viable"] == report.result["percent_viable"]
    assert "torch" in report.result["provenance"]["versions"]
    assert "torch" not in found["provenance"]["versions"]


def test_a_model_without_a_network_says_what_it_needs(folder: Path, tmp_path: Path) -> None:
    slide = tmp_path / "slide.tiff"
    write_phantom(slide, np.random.default_rng(0), side_mm=0.2)
    done = without_torch(
        "run", str(slide), "--model", str(folder), "--out", str(tmp_path / "out"), "--device", "cpu"
    )
    assert done.returncode == 2
    assert "model 'gate', which holds no converted network, needs torch" in done.stderr
    assert "pip install 'wsi-necrosis[t" in done.stderr
    assert "wsi-necrosis models convert" in done.stderr
