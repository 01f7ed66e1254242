"""Settings of a training: `configs/train.yaml`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.loading import merged, overlaid, shipped_yaml, validated
from wsi_necrosis.settings.schema import (
    BackboneName,
    Count,
    Fraction,
    Line,
    ModelName,
    NotNegative,
    Positive,
    Section,
    Seed,
    Seeds,
)

# Settings of `CropSettings` that vary more than the direction of a crop.
VARIATIONS = ("jitter", "jitter_od", "defocus_um", "brightness", "white_balance", "gamma")


class TileDataSettings(Section):
    """Which labelled tiles train a model, and what is known of them."""

    tiles: str
    layout: Literal["auto", "table", "tcia", "folders", "slides"]
    mpp_um: Positive | None
    mixed: Literal["exclude", "soft", "viable", "nonviable"]
    min_cover: Annotated[float, Field(gt=0.5, le=1)]
    source: Line
    doi: Line
    licence: Line
    centre: Line
    note: Line

    @property
    def path(self) -> Path:
        """`tiles` with `~` and environment variables filled in.

        Raises
        ------
        SettingsError
            It is empty, or a variable in it is not set.
        """
        return _expanded(self.tiles, "data.tiles")


class CropSettings(Section):
    """How training crops are cut from labelled tiles and varied."""

    tile_px: Annotated[int, Field(ge=8)]
    mpp_um: Positive
    per_side: Count
    views: Annotated[int, Field(ge=1, le=8)]
    jitter: Annotated[float, Field(ge=0, lt=1)]
    jitter_od: NotNegative
    defocus_um: NotNegative
    brightness: Annotated[float, Field(ge=0, lt=1)]
    white_balance: Annotated[float, Field(ge=0, lt=1)]
    gamma: NotNegative
    normalise: Literal["none", "macenko", "reinhard"]
    min_tissue: Fraction
    min_nuclei_per_mm2: NotNegative
    batch: Count
    workers: Count

    @property
    def varies(self) -> bool:
        """Whether views differ in more than their direction."""
        return any(getattr(self, name) for name in VARIATIONS)


class NetworkSettings(Section):
    """The network, and what its checkpoint says of it."""

    name: ModelName | None
    title: Line
    notice: Line
    backbone: BackboneName
    initial: str
    mean: Annotated[tuple[float, float, float], Field(strict=False)] | None
    std: Annotated[tuple[Positive, Positive, Positive], Field(strict=False)] | None
    fusion: Literal["gate", "concat", "mean", "image", "radiomics"]
    hidden: Annotated[int, Field(ge=0)]
    gate_hidden: Count
    dropout: Annotated[float, Field(ge=0, lt=1)]
    recipe: str
    clip: Positive
    guard: Positive
    members: Annotated[int, Field(ge=1, le=3)]


class FitSettings(Section):
    """How a model is fitted."""

    loss: Literal["hierarchical", "paper", "fixed", "flat"]
    tune: Literal["frozen", "head", "partial", "full"]
    tune_groups: Count
    epochs: Count
    batch: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    backbone_learning_rate: Positive
    loss_learning_rate: Positive
    weight_decay: NotNegative
    l2: NotNegative
    patience: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    save_every: Count
    seed: Seed
    test_seeds: Seeds


class CalibrationSettings(Section):
    """How probabilities of single tiles are calibrated."""

    max_temperature: Annotated[float, Field(ge=1)]
    few_cases: Annotated[int, Field(ge=0)]
    max_temperature_few_cases: Annotated[float, Field(ge=1)]


class OodSettings(Section):
    """How tiles unlike the training tiles are recognised."""

    shrinkage: Annotated[float, Field(ge=1e-4, le=1)]
    least_tissue: Fraction
    keep: Annotated[float, Field(gt=0.5, lt=1)]


class TrainSettings(Section):
    """All settings of a training."""

    data: TileDataSettings
    crops: CropSettings
    network: NetworkSettings
    fit: FitSettings
    calibration: CalibrationSettings
    ood: OodSettings


def _expanded(text: str, key: str) -> Path:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  (pathlib has no expandvars)
    if not expanded:
        raise SettingsError(
            f"no labelled tiles are named; give a folder or a table with --tiles PATH ({key})"
        )
    if "$" in expanded:
        raise SettingsError(
            f"{key} {text!r} names a variable that is not set; export it, or give the place of the labelled "
            "tiles with --tiles PATH"
        )
    return Path(expanded)


def load_train_settings(
    config: str | Path | None = None, overrides: Iterable[str] = (), preset: str | None = None
) -> TrainSettings:
    """Shipped `train.yaml`, with a preset, a file and `section.key=value` strings laid over it, in that order.

    Raises
    ------
    SettingsError
        A file is missing or not YAML, a key is unknown, or a value is out of range.
    """
    tree = shipped_yaml("train.yaml")
    if preset is not None:
        tree = merged(tree, shipped_yaml(f"presets/{preset}.yaml"))
    return validated(TrainSettings, overlaid(tree, config, overrides))


def train_settings(tree: Mapping[str, Any]) -> TrainSettings:
    """Settings of a training from a complete mapping, such as a checkpoint keeps.

    Raises
    ------
    SettingsError
        A key is unknown or missing, or a value is out of range.
    """
    return validated(TrainSettings, tree)
