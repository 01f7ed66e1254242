import pytest
import yaml

from wsi_necrosis.settings.run import Settings, load_settings


def test_every_shipped_number_has_a_reason(pytestconfig: pytest.Config) -> None:
    lines = (pytestconfig.rootpath / "configs" / "default.yaml").read_text().splitlines()
    bare = [line for line in lines if line.startswith("  ") and "#" not in line]
    assert bare == []


def test_settings_are_frozen_and_round_trip() -> None:
    settings = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        settings.grid.block_cells = 3  # type: ignore[misc]
    assert Settings.model_validate(yaml.safe_load(yaml.safe_dump(settings.model_dump()))) == settings
