from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.helpers.small_checkpoint import SPEC, TENSORS, edit
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.calibration import Temperature
from wsi_necrosis.model.checkpoint import load_tensors, save_checkpoint
from wsi_necrosis.model.ood import NUMBERS, OodDetector
from wsi_necrosis.model.quantity import EndOfScale, EstimatorFigures, Quantity
from wsi_necrosis.model.spec import (
    SHIPPED,
    SPEC_FILE,
    WEIGHTS_FILE,
    ConvertedNetwork,
    ModelSpec,
    list_models,
    load_spec,
    model_folder,
)

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


def test_every_part_of_a_description_survives(tmp_path: Path) -> None:
    saved = save_checkpoint(tmp_path / "full", FULL, TENSORS)
    assert load_spec(tmp_path / "full") == saved == replace(FULL, weights_sha256=saved.weights_sha256)


def test_what_is_known_of_percent_viable_decides_no_score(tmp_path: Path) -> None:
    ends = EndOfScale(21.0, 38.0, 2), None
    quantity = Quantity("hard", EstimatorFigures(26.0, 0.5, 25.0), EstimatorFigures(24.0, 0.6, 20.0, *ends))
    known = replace(FULL, quantity=quantity)
    assert known.fingerprint == FULL.fingerprint
    save_checkpoint(tmp_path / "known", known, TENSORS)
    assert load_spec(tmp_path / "known").quantity == quantity


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
        {"converted": ConvertedNetwork({"network.xml": "ab"}, ((0.2, 0.3, 0.5),), {})},
        {"converted": ConvertedNetwork({"network.xml": "cd"}, ((0.2, 0.3, 0.5),), {})},
    ],
)
def test_what_decides_scores_makes_another_model(change: dict[str, object]) -> None:
    assert replace(FULL, **change).fingerprint != FULL.fingerprint


@pytest.mark.parametrize("change", [{"training": {}}, {"metrics": {"a": 1}}, {"title": "other"}])
def test_what_only_describes_a_model_does_not(change: dict[str, object]) -> None:
    assert replace(FULL, **change).fingerprint == FULL.fingerprint


def test_every_shipped_model_can_be_loaded() -> None:
    assert list_models() == ("default", "fast", "phantom")
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


@pytest.mark.parametrize("version", [1, 2, "3", None])
def test_another_format_version_is_refused(folder: Path, version: object) -> None:
    edit(folder, format_version=version, calibration={"kind": "none"})
    said = (
        rf"{folder / SPEC_FILE} has format version {version!r}, this program reads 3; use the program version"
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
        ("calibration", {"value": float("nan")}, "holds NaN, which is no number"),
        ("ood", {}, r"ood\.centre: .*required"),
        ("ood", DETECTOR_TREE | {"centre": [0.0] * 5}, "ood: .*6 numbers"),
        ("ood", DETECTOR_TREE | {"scale": [1.0] * 7}, "ood: .*6 numbers"),
        ("ood", DETECTOR_TREE | {"precision": [[1.0] * 6] * 5}, "ood: .*6 numbers"),
        ("ood", DETECTOR_TREE | {"precision": [[1.0] * 5] * 6}, "ood: .*6 numbers"),
        ("ood", DETECTOR_TREE | {"limit": 0.0}, "ood: .*above 0"),
        ("ood", DETECTOR_TREE | {"limit": float("nan")}, "holds NaN"),
        ("ood", DETECTOR_TREE | {"limit": 1e300}, "ood: .*1e.06"),
        ("ood", DETECTOR_TREE | {"scale": [1e-300] * 6}, "ood: .*0.001"),
        ("ood", DETECTOR_TREE | {"precision": [[-1.0] * 6] * 6}, "ood: .*eigenvalues"),
        ("ood", DETECTOR_TREE | {"scale": [0.0] * 6}, "ood: .*above 0"),
        ("ood", DETECTOR_TREE | {"limit": 1e5}, "ood: pure red"),
        ("ood", DETECTOR_TREE | {"scale": [1e5] * 6}, "ood: pure red"),
        (
            "ood",
            DETECTOR_TREE | {"precision": [[1e-9 * (r == c) for c in range(6)] for r in range(6)]},
            "pure red",
        ),
        ("ood", DETECTOR_TREE | {"kind": "other"}, r"ood\.kind: Unexpected"),
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
def test_a_branch_must_have_an_input(folder: Path, change: dict, message: str) -> None:
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


def test_a_spec_is_frozen() -> None:
    assert isinstance(SPEC, ModelSpec)
    with pytest.raises(AttributeError):
        SPEC.tile_px = 1  # type: ignore[misc]
