"""`wsi-necrosis config`: print the settings."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import yaml

from wsi_necrosis.settings.run import load_settings


def config(preset: str | None, config_file: Path | None, overrides: Sequence[str]) -> str:
    """The shipped file with its comments, or all settings in force where any option is given, as YAML."""
    if preset is None and config_file is None and not overrides:
        return files("wsi_necrosis.configs").joinpath("default.yaml").read_text(encoding="utf-8")
    settings = load_settings(preset, config_file, overrides)
    return yaml.safe_dump(settings.model_dump(), sort_keys=False)
