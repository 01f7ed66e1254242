"""A tiny model and its evaluation, which more than one test file needs."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.executors import Inline
from tests.helpers.made_once import made_once
from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.evaluation import evaluate as evaluating
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant, load_evaluation_settings


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

    def make(out: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluating, "ProcessPoolExecutor", Inline)
            said = evaluate(Options(str(trained), painted, out, tuned=True), rules)
        (out / "said.txt").write_text(said, encoding="utf-8")

    return made_once(tmp_path_factory, "evaluation", make)


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
