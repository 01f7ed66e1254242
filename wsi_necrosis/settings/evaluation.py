"""Settings of an evaluation: `configs/evaluation.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from wsi_necrosis.settings.schema import Count, Section, Seeds


class Variant(Section):
    """One way of making a model, as settings over those of the training; a probe has but a linear classifier."""

    name: str
    title: str
    group: str
    kind: Literal["network", "probe"] = "network"
    set: Mapping[str, Any]


class EvaluationSettings(Section):
    """Which variants are compared, and how."""

    main: str
    frozen: tuple[Variant, ...]
    tuned: tuple[Variant, ...]
    tuned_seeds: Seeds
    calibration_bins: Annotated[int, Field(ge=2)]
    bootstrap_draws: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: int
