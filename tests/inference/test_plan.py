from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.errors import MissingExtraError
from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.model import backend
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.quantity import EstimatorFigures, Quantity, quantity_facts
from wsi_necrosis.model.spec import model_folder
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "slide.tiff"
    write_phantom(path, np.random.default_rng(0), side_mm=0.5)
    return path


def plan(painted: Path, *overrides: str) -> Plan:
    settings = load_settings(overrides=["model.name=phantom", "model.device=cpu", *overrides])
    with open_slide(painted) as slide:
        return make_plan(slide, settings)


def test_the_backend_is_chosen_and_written_down(painted: Path) -> None:
    found = plan(painted, "model.backend=openvino", "model.dtype=float32")
    assert found.backend == Backend("openvino", "cpu", "float32")
    assert found.inputs["backend"] == {
        "name": "openvino",
        "device": "cpu",
        "dtype": "float32",
        "batch_tiles": 4,
    }


def test_batches_suit_the_device_unless_their_size_is_given(painted: Path) -> None:
    assert plan(painted).batch_tiles == 4
    given = plan(painted, "model.batch_tiles=7")
    assert given.batch_tiles == given.inputs["backend"]["batch_tiles"] == 7


def test_another_backend_changes_all_fingerprints(painted: Path) -> None:
    one, other = (
        plan(painted, f"model.backend={name}", "model.dtype=float32") for name in ("torch", "openvino")
    )
    for name in ("scoring", "measuring", "export"):
        assert one.fingerprints[name] != other.fingerprints[name]


def test_what_is_known_of_the_percentage_changes_the_measuring_and_no_score(
    painted: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(model_folder("phantom"), tmp_path / "model"))
    before = plan(painted, f"model.name={copy}").fingerprints
    figures = EstimatorFigures(24.0, 0.6, 20.0)
    tree = json.loads((copy / "model.json").read_text(encoding="utf-8"))
    tree |= {"quantity": quantity_facts(Quantity("hard", figures, figures))}
    (copy / "model.json").write_text(json.dumps(tree), encoding="utf-8")
    after = plan(painted, f"model.name={copy}").fingerprints
    assert {name for name in before if before[name] != after[name]} == {"measuring", "export"}


def test_the_estimator_is_no_input_of_the_scores(painted: Path) -> None:
    before, after = plan(painted).fingerprints, plan(painted, "quantify.estimator=by_class").fingerprints
    assert {name for name in before if before[name] != after[name]} == {"measuring", "export"}


def test_a_backend_that_is_not_installed_is_refused(painted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None if name == "openvino" else name)
    assert plan(painted, "model.dtype=float32").backend.name == "torch"
    with pytest.raises(MissingExtraError, match=r"OpenVINO is not installed on .*; pip install openvino"):
        plan(painted, "model.backend=openvino")
