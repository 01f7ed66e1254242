"""Painted tiles, a tiny model trained on them, and its evaluation, which more than one file of tests needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.executors import Inline
from tests.helpers.painted_tables import CASES, paint
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.evaluation import evaluate as evaluating
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.pipelines.train import train
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant, load_evaluation_settings

CONFIG = """
data:
  {tiles: $PAINTED_TILES, source: Painted by hand, doi: 10.5555/none, licence: CC0, centre: none, note: Not tissue.}
crops: {tile_px: 32, per_side: 1, views: 2, workers: 1, batch: 8}
network:
  {name: tiny, title: A tiny model, backbone: test_byobnet, initial: random, hidden: 8, gate_hidden: 4, recipe: phantom,
   members: 2}
fit: {epochs: 15, batch: 4, learning_rate: 0.01, test_seeds: [1, 2], save_every: 7, device: cpu}
"""


@pytest.fixture(scope="session")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 tiles of three cases; case C has no tumour."""
    return paint(tmp_path_factory.mktemp("painted"), CASES, 5)


@pytest.fixture(scope="session")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a tiny model; its tiles are named by a variable."""
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def trained(painted: Path, config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    train(config, [f"data.tiles={painted}"], out)
    return out


@pytest.fixture(scope="session")
def spec(trained: Path) -> ModelSpec:
    return load_spec(trained)


@pytest.fixture(scope="session")
def rules() -> EvaluationSettings:
    """Some of the shipped variants, and one whose backbone learns for an epoch."""
    shipped = load_evaluation_settings(None, ["bootstrap_draws=100", "tuned_seeds=[1, 2]"])
    kept = {"default", "image-flat", "paper-loss", "probe"}
    tuned = Variant(
        name="tuned-full",
        title="the whole backbone tuned",
        group="Tuned backbone",
        set={"fit.tune": "full", "fit.epochs": 1},
    )
    frozen = tuple(variant for variant in shipped.frozen if variant.name in kept)
    return shipped.model_copy(update={"frozen": frozen, "tuned": (tuned,)})


@pytest.fixture(scope="session")
def evaluation(
    trained: Path, painted: Path, rules: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a comparison, tuned variants included; `said.txt` is what it returned.

    No processes: `test_comparison` compares a pool of them with none, and the slow comparison on real tiles has one.
    """
    out = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluating, "ProcessPoolExecutor", Inline)
        said = evaluate(Options(str(trained), painted, out, tuned=True), rules)
    (out / "said.txt").write_text(said, encoding="utf-8")
    return out


@pytest.fixture(scope="session")
def _read_facts(evaluation: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    return tree


@pytest.fixture
def facts(_read_facts: dict[str, Any]) -> dict[str, Any]:
    """What the comparison found; a copy to change."""
    return copy.deepcopy(_read_facts)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations start no processes."""
    monkeypatch.setattr(evaluating, "ProcessPoolExecutor", Inline)
