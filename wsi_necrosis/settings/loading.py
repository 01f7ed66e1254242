"""Read settings from YAML, lay them over one another, and validate them against a schema.

`default.yaml` is complete: no setting of a run has a default in the code. A preset, a user's file and
`section.key=value` strings override it, in that order; an unknown key is an error that names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.outside import SETTINGS_MIB, OutsideError, brief, parse_yaml, read_text
from wsi_necrosis.settings.schema import Section

S = TypeVar("S", bound=Section)


def validated(schema: type[S], tree: Mapping[str, Any]) -> S:
    """`tree` as `schema`; errors name the dotted key."""
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(item, schema.LISTED) for item in error.errors())) from None


def shipped_yaml(name: str) -> dict[str, Any]:
    """A YAML file of the package's `configs` folder."""
    resource = files("wsi_necrosis.configs").joinpath(name)
    if not resource.is_file():
        raise SettingsError(
            f"there is no shipped setting file {name!r}; `wsi-necrosis config` shows the default"
        )
    return _parse_yaml(resource.read_text(encoding="utf-8"), name)


def shipped_names(folder: str) -> list[str]:
    """Names of the YAML files in a folder of the package's `configs`, without their ending."""
    found = files("wsi_necrosis.configs").joinpath(folder).iterdir()
    return sorted(each.name.removesuffix(".yaml") for each in found if each.name.endswith(".yaml"))


def read_yaml(path: str | Path) -> dict[str, Any]:
    """A user's YAML file as a mapping."""
    try:
        text = read_text(path, SETTINGS_MIB)
    except OutsideError as error:
        raise SettingsError(f"{path} {error}; give a YAML file") from None
    return _parse_yaml(text, str(path))


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = parse_yaml(text)
    except OutsideError as error:
        raise SettingsError(f"{name} {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise SettingsError(f"{name} holds {type(tree).__name__}, not sections of settings")
    return tree


def _parse_override(text: str) -> dict[str, Any]:
    dotted, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"{brief(text)} sets nothing; write section.key=value")
    return nested(dotted.strip(), _parse_yaml(f"value: {value}", f"--set {brief(text)[1:-1]}")["value"])


def nested(dotted: str, value: Any) -> dict[str, Any]:
    """`value` under a dotted key: "a.b" gives {"a": {"b": value}}."""
    tree = value
    for key in reversed(dotted.split(".")):
        tree = {key: tree}
    return dict(tree)


def overlaid(tree: dict[str, Any], config: str | Path | None, overrides: Iterable[str]) -> dict[str, Any]:
    """A user's file and `section.key=value` strings over `tree`."""
    if isinstance(overrides, str):
        raise SettingsError(f"overrides are a list of section.key=value, not the one string {overrides!r}")
    over = [] if config is None else [read_yaml(config)]
    for layer in (*over, *map(_parse_override, overrides)):
        tree = merged(tree, layer)
    return tree


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` laid over it, section by section."""
    tree = dict(base)
    for key, value in over.items():
        below = tree.get(key)
        tree[key] = merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return tree


def _explain(item: Mapping[str, Any], listed: str) -> str:
    dotted = brief(".".join(str(part) for part in item["loc"]))[1:-1]
    if item["type"] == "extra_forbidden":
        return f"{dotted} is not a setting; {listed} lists them all"
    if item["type"] == "missing":
        return f"{dotted} is missing"
    if not dotted:  # of the whole, whose text would say nothing
        return str(item["msg"]).removeprefix("Value error, ")
    return f"{dotted}: {item['msg']} (got {brief(item['input'])})"
