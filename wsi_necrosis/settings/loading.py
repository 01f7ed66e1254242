"""The schema of `configs/*.yaml`, and the only reader of YAML.

`default.yaml` is complete: no number has a second home in the code. A preset, a user's file and
`section.key=value` strings are laid over it in that order; unknown keys are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.settings.schema import Section
from wsi_necrosis.settings.train import TrainSettings

S = TypeVar("S", bound=Section)


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


def variant_settings(settings: TrainSettings, variant: Variant) -> TrainSettings:
    """The settings of a training with those of a variant laid over them.

    Raises
    ------
    SettingsError
        The variant sets an unknown key, or a value out of range.
    """
    tree = settings.model_dump(mode="json")
    for dotted, value in variant.set.items():
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
