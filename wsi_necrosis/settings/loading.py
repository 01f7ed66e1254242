"""The schema of `configs/*.yaml`, and the only reader of YAML.

`default.yaml` is complete: no number has a second home in the code. A preset, a user's file and
`section.key=value` strings are laid over it in that order; unknown keys are refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from wsi_necrosis.errors import SettingsError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


def _distinct(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed stands twice, which would make spreads too small")
    return seeds


Seeds = Annotated[tuple[Seed, ...], Field(min_length=1), AfterValidator(_distinct)]


class Section(BaseModel):
    """A frozen group of settings that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=Section)


class TissueSettings(Section):
    """How tissue is told from glass."""

    mpp_um: Positive
    chroma_od: Positive
    faint_chroma_od: Positive
    dark_od: Positive
    texture_od: Positive
    close_um: NotNegative
    min_piece_um2: NotNegative
    hole_um2: NotNegative


class GridSettings(Section):
    """How cells, tiles and blocks are laid."""

    stride_tiles: Annotated[float, Field(gt=0, le=1)]
    block_cells: Count


class ModelSettings(Section):
    """Which model scores, and where."""

    name: str
    device: Literal["auto", "cpu", "cuda", "mps"]
    backend: Literal["auto", "torch", "openvino"]
    dtype: Literal["auto", "float32", "bfloat16"]
    batch_tiles: Annotated[int, Field(ge=0)]


class RadiomicsSettings(Section):
    """How radiomic features are computed; which ones is the model's."""

    engine: Literal["compiled", "reference"]


class ClusterSettings(Section):
    """Where blocks run."""

    workers: Annotated[int, Field(ge=0)]
    processes: bool
    scheduler: str


class QuantifySettings(Section):
    """How cells become areas, a percentage and an interval."""

    policy: Literal["tumour"]
    min_tumour_mm2: NotNegative
    max_uncertainty: Fraction
    max_ood: Positive
    max_ood_share: Fraction
    bootstrap_draws: Count
    block_mm: Positive
    small_block_mm: Positive
    min_blocks: Annotated[int, Field(ge=2)]
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: int


class ExportSettings(Section):
    """How pictures are made."""

    overlay_px: Annotated[int, Field(ge=64)]
    overlay_opacity: Fraction


class Settings(Section):
    """All settings of a run."""

    tissue: TissueSettings
    grid: GridSettings
    model: ModelSettings
    radiomics: RadiomicsSettings
    cluster: ClusterSettings
    quantify: QuantifySettings
    export: ExportSettings


def load_settings(
    preset: str | None = None, config: Path | None = None, overrides: Iterable[str] = ()
) -> Settings:
    """Shipped settings, with a preset, a file and `section.key=value` strings laid over them.

    Raises
    ------
    SettingsError
        A file is missing or no YAML, a key is unknown, or a value is out of range.
    """
    tree = shipped_yaml("default.yaml")
    if preset is not None:
        tree = _merged(tree, shipped_yaml(f"presets/{preset}.yaml"))
    return validated(Settings, _overlaid(tree, config, overrides))


def validated(schema: type[S], tree: Mapping[str, Any]) -> S:
    """`tree` as `schema`; errors name the dotted key."""
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item) for item in error.errors())) from None


def shipped_yaml(name: str) -> dict[str, Any]:
    """A YAML file of the package's `configs` folder."""
    resource = files("wsi_necrosis.configs").joinpath(name)
    if not resource.is_file():
        raise SettingsError(
            f"there is no shipped setting file {name!r}; `wsi-necrosis config` shows the default"
        )
    return _parse_yaml(resource.read_text(encoding="utf-8"), name)


def read_yaml(path: Path) -> dict[str, Any]:
    """A user's YAML file as a mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not a text file; give a YAML file in UTF-8") from None
    return _parse_yaml(text, str(path))


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"{name} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{name} holds {type(tree).__name__}, not sections of settings")
    return tree


def _parse_override(text: str) -> dict[str, Any]:
    dotted, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"--set {text}: write section.key=value")
    return _nested(dotted.strip(), _parse_yaml(f"value: {value}", f"--set {text}")["value"])


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    tree = value
    for key in reversed(dotted.split(".")):
        tree = {key: tree}
    return dict(tree)


def _overlaid(tree: dict[str, Any], config: Path | None, overrides: Iterable[str]) -> dict[str, Any]:
    """A user's file and `section.key=value` strings over `tree`."""
    over = [] if config is None else [read_yaml(config)]
    for layer in (*over, *map(_parse_override, overrides)):
        tree = _merged(tree, layer)
    return tree


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(item: Mapping[str, Any]) -> str:
    dotted = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{dotted} is not a setting; `wsi-necrosis config` lists them all"
    return f"{dotted}: {item['msg']} (got {item['input']!r})"


class TileDataSettings(Section):
    """Which labelled tiles train a model, and what is known of them."""

    tiles: str
    layout: Literal["auto", "table", "tcia", "folders", "slides"]
    mpp_um: Positive | None
    mixed: Literal["exclude", "soft", "viable", "nonviable"]
    min_cover: Annotated[float, Field(gt=0.5, le=1)]
    source: str
    doi: str
    licence: str
    centre: str
    note: str

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
    normalise: Literal["none", "macenko", "reinhard"]
    batch: Count
    workers: Count


class NetworkSettings(Section):
    """The network, and what its checkpoint says of it."""

    name: str
    title: str
    notice: str
    backbone: str
    initial: str
    mean: tuple[float, float, float] | None
    std: tuple[Positive, Positive, Positive] | None
    fusion: Literal["gate", "concat", "image", "radiomics"]
    hidden: Count
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
    patience: Annotated[int, Field(ge=0)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    save_every: Count
    seed: Seed
    test_seeds: Seeds


class HonestySettings(Section):
    """How probabilities are calibrated and the unknown is recognised."""

    max_temperature: Annotated[float, Field(ge=1)]
    shrinkage: Annotated[float, Field(ge=0, le=1)]
    least_tissue: Fraction
    keep: Annotated[float, Field(gt=0.5, lt=1)]


class TrainSettings(Section):
    """All settings of a training."""

    data: TileDataSettings
    crops: CropSettings
    network: NetworkSettings
    fit: FitSettings
    honesty: HonestySettings


class Arm(Section):
    """One way of making a model, as settings over those of the training; a probe has but a linear classifier."""

    name: str
    title: str
    group: str
    kind: Literal["network", "probe"] = "network"
    set: Mapping[str, Any]


class EvaluationSettings(Section):
    """Which arms are compared, and how."""

    main: str
    frozen: tuple[Arm, ...]
    tuned: tuple[Arm, ...]
    tuned_seeds: Seeds
    calibration_bins: Annotated[int, Field(ge=2)]
    bootstrap_draws: Count
    confidence: Annotated[float, Field(gt=0, lt=1)]
    seed: int


def load_train_settings(config: Path | None = None, overrides: Iterable[str] = ()) -> TrainSettings:
    """Shipped `train.yaml`, with a file and `section.key=value` strings laid over it.

    Raises
    ------
    SettingsError
        A file is missing or no YAML, a key is unknown, or a value is out of range.
    """
    return validated(TrainSettings, _overlaid(shipped_yaml("train.yaml"), config, overrides))


def train_settings(tree: Mapping[str, Any]) -> TrainSettings:
    """Settings of a training from a complete mapping, such as a checkpoint keeps.

    Raises
    ------
    SettingsError
        A key is unknown or missing, or a value is out of range.
    """
    return validated(TrainSettings, tree)


def arm_settings(settings: TrainSettings, arm: Arm) -> TrainSettings:
    """The settings of a training with those of an arm laid over them.

    Raises
    ------
    SettingsError
        The arm sets an unknown key, or a value out of range.
    """
    tree = settings.model_dump(mode="json")
    for dotted, value in arm.set.items():
        tree = _merged(tree, _nested(dotted, value))
    return validated(TrainSettings, tree)


def load_evaluation_settings(config: Path | None = None, overrides: Iterable[str] = ()) -> EvaluationSettings:
    """Shipped `evaluation.yaml`, with a file and `key=value` strings laid over it.

    Raises
    ------
    SettingsError
        A file is missing or no YAML, a key is unknown, or a value is out of range.
    """
    return validated(EvaluationSettings, _overlaid(shipped_yaml("evaluation.yaml"), config, overrides))


def _expanded(text: str, key: str) -> Path:
    expanded = os.path.expanduser(os.path.expandvars(text))  # noqa: PTH111  (pathlib has no expandvars)
    if not expanded or "$" in expanded:
        raise SettingsError(
            f"{key} {text!r} names a variable that is not set; export it, or give the place of the labelled "
            f"tiles with --set {key}=PATH"
        )
    return Path(expanded)
