"""Settings of an evaluation: `configs/evaluation.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from wsi_necrosis.settings.loading import merged, nested, overlaid, shipped_yaml, validated
from wsi_necrosis.settings.schema import Count, NotNegative, Section
from wsi_necrosis.settings.train import TrainSettings


class Variant(Section):
    """One way of making a model, by the training settings that it changes."""

    name: str
    title: str
    group: str
    set: Mapping[str, Any]


class RuleSettings(Section):
    """How one of several ways is chosen: by error, among those close to the best by macro-F1, and then by cost."""

    rmse_margin: NotNegative
    f1_margin: NotNegative
    fast_backbone: str


class EvaluationSettings(Section):
    """Which variants are compared, and how."""

    variants: Annotated[tuple[Variant, ...], Field(strict=False)]
    rule: RuleSettings
    cost_tiles: Count
    calibration_bins: Annotated[int, Field(ge=2)]
    bootstrap_draws: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]


def variant_settings(settings: TrainSettings, variant: Variant) -> TrainSettings:
    """Training settings with those of a variant laid over them.

    Raises
    ------
    SettingsError
        The variant sets an unknown key, or a value out of range.
    """
    tree = settings.model_dump(mode="json")
    for dotted, value in variant.set.items():
        tree = merged(tree, nested(dotted, value))
    return validated(TrainSettings, tree)


def load_evaluation_settings(
    config: str | Path | None = None, overrides: Iterable[str] = ()
) -> EvaluationSettings:
    """Shipped `evaluation.yaml`, with a file and `key=value` strings laid over it.

    Raises
    ------
    SettingsError
        A file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    return validated(EvaluationSettings, overlaid(shipped_yaml("evaluation.yaml"), config, overrides))
