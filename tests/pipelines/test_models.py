from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.models import save_random_model
from tests.helpers.without_torch import without_torch
from wsi_necrosis.errors import ModelError
from wsi_necrosis.model.spec import SHIPPED, ModelSpec, load_spec
from wsi_necrosis.model.tile_model import Prediction, TileModel
from wsi_necrosis.pipelines.cli import main
from wsi_necrosis.pipelines.models import describe_all, show, validate


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the phantom's model, to damage."""
    return Path(shutil.copytree(SHIPPED / "phantom", tmp_path / "copied"))


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wsi-necrosis", "models", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_each_shipped_model_has_a_line() -> None:
    lines = describe_all().splitlines()
    assert [line.split()[0] for line in lines] == ["default", "fast", "phantom"]
    assert lines[2].endswith("Fixed weights that read the phantom's materials from their mean colours")


def test_the_description_of_a_model_is_shown(copied: Path) -> None:
    said = show([str(copied)])
    spec = load_spec(copied)
    for part in (
        "phantom",
        spec.title,
        spec.notice,
        "32 px at 1 um",
        "test_byobnet, gate, hierarchical heads, members 1",
        "recipe phantom, 3 features",
        "temperature 1.00",
        "not recognised",
        "0 tiles, cases: none; weights set by hand",
        "no figures",
        f"{spec.weights_sha256}, ",
        f" MB in {copied}",
    ):
        assert part in said, part


def test_the_figures_of_a_trained_model_are_shown(trained: Path, spec: ModelSpec) -> None:
    said, f1 = show([str(trained)]), spec.metrics["tile"]["macro_f1"]
    assert f"macro-F1 {f1['mean']:.3f} +- {f1['sd']:.3f}" in said
    assert "21 tiles, cases: A, B, C; Painted by hand" in said
    assert "abstained on" in said


def test_without_a_name_all_shipped_models_are_shown_and_checked() -> None:
    assert show([]) == show(["default", "fast", "phantom"])
    assert [line.split(":")[0] for line in validate([]).splitlines()] == ["default", "fast", "phantom"]


def test_named_models_are_shown_and_checked_in_order(trained: Path, copied: Path) -> None:
    assert show([str(trained), "phantom"]).split("\n\n") == [show([str(trained)]), show(["phantom"])]
    lines = validate([str(copied), str(trained)]).splitlines()
    assert lines == [
        f"{copied}: whole, 0.2 million numbers, SHA-256 {load_spec(copied).weights_sha256}",
        f"{trained}: whole, 0.2 million numbers, SHA-256 {load_spec(trained).weights_sha256}",
    ]


def test_a_damaged_weight_is_found(copied: Path) -> None:
    weights = copied / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelError, match="has SHA-256"):
        validate(["phantom", str(copied)])


def test_a_missing_file_is_named(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"lacks model\.safetensors"):
        show([str(copied)])
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read"):
        validate([str(copied)])


def test_a_converted_model_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save_random_model(folder, "gate")
    assert "converted once on each machine, which needs torch" in show([str(folder)])
    assert command(monkeypatch, "convert", str(folder)) == 0
    assert f"converted by openvino {version('openvino')}; runs without torch" in show([str(folder)])
    assert f"{sum(path.stat().st_size for path in folder.iterdir()) / 1e6:.1f} MB in" in show([str(folder)])
    done = without_torch("models", "validate", str(folder))
    assert (done.returncode, done.stdout) == (0, validate([str(folder)]) + "\n")
    (folder / "network.bin").unlink()
    with pytest.raises(ModelError, match=r"lacks network\.bin"):
        show([str(folder)])


FINE = Prediction(
    np.full((16, 3), 1 / 3, np.float32),
    np.ones(16, np.float32),
    np.full((16, 2), 0.5, np.float32),
    np.zeros(16, np.float32),
)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ({"prob": np.full((16, 3), 0.5, np.float32)}, "probabilities"),
        ({"prob": np.full((16, 3), np.nan, np.float32)}, "probabilities"),
        ({"prob": np.tile(np.float32([2, -0.5, -0.5]), (16, 1))}, "probabilities"),
        ({"uncertainty": np.full(16, np.nan, np.float32)}, "uncertainties"),
        ({"ood": np.full(16, np.nan, np.float32)}, "distances"),
        ({"ood": np.full(16, np.inf, np.float32)}, "distances"),
    ],
)
def test_an_answer_that_no_run_could_use_is_refused(
    harm: dict[str, np.ndarray], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TileModel, "predict", lambda *_: FINE)
    assert validate(["phantom"]).startswith("phantom: whole")
    monkeypatch.setattr(TileModel, "predict", lambda *_: replace(FINE, **harm))
    with pytest.raises(ModelError, match=rf"painted tiles {said}.*train it again"):
        validate(["phantom"])


def test_the_command_lists_shows_and_checks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, "ls") == 0
    assert "phantom " in capsys.readouterr().out
    assert command(monkeypatch, "show", "phantom") == 0
    assert capsys.readouterr().out == show(["phantom"]) + "\n"
    assert command(monkeypatch, "validate", "phantom") == 0
    assert capsys.readouterr().out.startswith("phantom: whole")


@pytest.mark.parametrize("job", ["show", "validate"])
def test_the_command_refuses_what_is_broken_in_one_line(
    job: str, copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = json.loads((copied / "model.json").read_text(encoding="utf-8"))
    (copied / "model.json").write_text(json.dumps(tree | {"mpp": "coarse"}), encoding="utf-8")
    assert command(monkeypatch, job, str(copied)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "is damaged at mpp" in said.err
    assert said.err.count("\n") == 1
    assert command(monkeypatch, job, "no-such-model") == 1
    assert "there is no model 'no-such-model'" in capsys.readouterr().err
