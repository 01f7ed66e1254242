from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.model.spec import ModelSpec, load_spec
from wsi_necrosis.pipelines.evaluation import variants as module
from wsi_necrosis.pipelines.evaluation.comparison import Comparison
from wsi_necrosis.pipelines.evaluation.evaluate import settings_of
from wsi_necrosis.pipelines.evaluation.variants import OWN, shipped_variants, with_own
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant
from wsi_necrosis.training.samples import SampleCache


def comparison(
    spec: ModelSpec, painted: Path, rules: EvaluationSettings, **sets: dict[str, Any]
) -> Comparison:
    """A comparison of these variants of the tiny model."""
    variants = tuple(Variant(name=name, title=name, group="g", set=changes) for name, changes in sets.items())
    return Comparison(
        SampleCache(()), settings_of(spec, painted), rules.model_copy(update={"variants": variants})
    )


def test_the_model_itself_is_found_by_its_settings(
    spec: ModelSpec, painted: Path, rules: EvaluationSettings
) -> None:
    """Whatever a variant spells out; texts and the number of members make no other way of making a model."""
    same = {"network.hidden": 8, "fit.batch": 4, "network.title": "another"}
    some = comparison(spec, painted, rules, wide={"network.hidden": 9}, same=same)
    name, variants = with_own(some)
    assert name == "same"
    assert variants == some.rules.variants


def test_a_model_that_no_variant_describes_gets_one(
    spec: ModelSpec, painted: Path, rules: EvaluationSettings
) -> None:
    some = comparison(spec, painted, rules, wide={"network.hidden": 9})
    assert with_own(some) == ("model", (OWN, *some.rules.variants))


def test_variants_that_ship_are_named(
    spec: ModelSpec, painted: Path, rules: EvaluationSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "list_models", lambda: ("tiny", "phantom"))
    monkeypatch.setattr(module, "load_spec", lambda name: spec if name == "tiny" else load_spec(name))
    some = comparison(spec, painted, rules, wide={"network.hidden": 9}, same={})
    assert shipped_variants(some, "wide") == {"same": "tiny"}
    assert shipped_variants(some, "same") == {}
