"""Inputs that tests of evaluations share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.painted_tiles import paint
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.pipelines.evaluation import evaluation_plots
from wsi_necrosis.settings.evaluation import EvaluationSettings


@pytest.fixture
def few(rules: EvaluationSettings) -> EvaluationSettings:
    """The model itself and one variant."""
    kept = tuple(variant for variant in rules.variants if variant.name in {"itself", "flat"})
    return rules.model_copy(update={"variants": kept})


@pytest.fixture
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations draw no plots."""
    monkeypatch.setattr(evaluation_plots, "draw", lambda *_: None)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of two cases that the model has not seen."""
    return paint(tmp_path_factory.mktemp("fresh"), {"D": CLASSES, "E": ("viable",)}, 8, each=5)
