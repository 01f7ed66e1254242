"""The variants of a comparison: which of them the model itself is, and which ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsi_necrosis.model.spec import list_models, load_spec
from wsi_necrosis.settings.evaluation import Variant

from .comparison import Comparison

OWN = Variant(name="model", title="the model's own settings", group="The model", set={})
TEXTS = frozenset({"name", "title", "notice", "members"})  # of the network, which change no single classifier


def with_own(comparison: Comparison) -> tuple[str, tuple[Variant, ...]]:
    """Name of the variant with the model's training settings, and all variants; where none has them, one is added."""
    variants = comparison.rules.variants
    own = _same_settings(comparison, variants, comparison.settings.model_dump(mode="json"))
    return (own[0], variants) if own else (OWN.name, (OWN, *variants))


def shipped_variants(comparison: Comparison, main: str) -> dict[str, str]:
    """Shipped models by the name of the variant whose training settings they have, without that of the model itself."""
    trainings = {name: load_spec(name).training for name in list_models()}
    return {
        variant: model
        for model, training in trainings.items()
        if training
        for variant in _same_settings(comparison, comparison.rules.variants, training)
        if variant != main
    }


def _same_settings(
    comparison: Comparison, variants: Sequence[Variant], training: Mapping[str, Any]
) -> list[str]:
    """Names of the variants with these training settings."""
    wanted = _model_settings(training)
    return [
        variant.name
        for variant in variants
        if _model_settings(comparison.settings_of(variant).model_dump(mode="json")) == wanted
    ]


def _model_settings(training: Mapping[str, Any]) -> dict[str, Any]:
    """The training settings without data, texts and number of members."""
    network = {key: value for key, value in training["network"].items() if key not in TEXTS}
    return {**{key: training[key] for key in ("crops", "fit", "calibration", "ood")}, "network": network}
