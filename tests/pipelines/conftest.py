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
from wsi_necrosis.pipelines.evaluation import compare as comparing
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant, load_evaluation_settings


@pytest.fixture(scope="session")
def spec(trained: Path) -> ModelSpec:
    return load_spec(trained)


@pytest.fixture(scope="session")
def rules() -> EvaluationSettings:
    """Four variants, the model itself and one whose backbone learns for an epoch among them."""
    shipped = load_evaluation_settings(None, ["bootstrap_draws=100", "cost_tiles=2"])
    sets: dict[str, tuple[str, dict[str, Any]]] = {
        "itself": ("gate, hierarchical heads", {}),
        "image-flat": ("image", {"network.fusion": "image", "fit.loss": "flat"}),
        "flat": ("gate, flat heads", {"fit.loss": "flat"}),
        "tuned-full": ("the whole backbone tuned", {"fit.tune": "full", "fit.epochs": 1}),
    }
    variants = tuple(
        Variant(name=name, title=title, group="Tuned" if "tuned" in name else "Frozen", set=changes)
        for name, (title, changes) in sets.items()
    )
    rule = shipped.rule.model_copy(update={"fast_backbone": "test_byobnet"})
    return shipped.model_copy(update={"variants": variants, "rule": rule})


@pytest.fixture(scope="session")
def evaluation(
    trained: Path, painted: Path, rules: EvaluationSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder of a comparison; `said.txt` is what it returned.

    No processes: `test_comparison` compares a pool of them with none, and the slow comparison on real tiles has one.
    """

    def make(out: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparing, "ProcessPoolExecutor", Inline)
            said = evaluate(Options(str(trained), painted, out), rules)
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
    monkeypatch.setattr(comparing, "ProcessPoolExecutor", Inline)
