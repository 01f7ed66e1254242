from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.loading import shipped_yaml
from wsi_necrosis.settings.run import Settings, load_settings


def test_the_shipped_file_is_complete_and_has_no_more() -> None:
    assert load_settings().model_dump(mode="json") == shipped_yaml("default.yaml")


def test_later_sources_win(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("grid: {block_cells: 4}\nmodel: {batch_tiles: 2}\n")
    settings = load_settings("half-stride", config, ["model.batch_tiles=3"])
    assert settings.grid.stride_tiles == 0.5
    assert settings.grid.block_cells == 4
    assert settings.model.batch_tiles == 3


@given(st.text("abcxyz_", min_size=1, max_size=12).filter(lambda key: key not in Settings.model_fields))
def test_unknown_keys_are_named(key: str) -> None:
    with pytest.raises(SettingsError, match=f"grid.{key} is not a setting"):
        load_settings(overrides=[f"grid.{key}=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("grid.stride_tiles=0", "grid.stride_tiles"),
        ("grid.stride_tiles=2", "grid.stride_tiles"),
        ("quantify.policy=bed", "quantify.policy"),
        ("quantify.max_ood=0", "quantify.max_ood"),
        ("quantify.max_ood=.nan", "quantify.max_ood"),
        ("quantify.max_ood_share=1.5", "quantify.max_ood_share"),
        ("grid=3", "grid"),
        ("grid.block_cells", "write section.key=value"),
        ("grid.block_cells=[", "not valid YAML"),
    ],
)
def test_bad_values_are_named(override: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(overrides=[override])


@pytest.mark.parametrize("content", [b"- 1\n- 2\n", b"a: [", b"\xff\xfe\x00"])
def test_files_that_are_no_settings_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        load_settings(config=path)


def test_missing_files_and_presets_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml"):
        load_settings(config=tmp_path / "none.yaml")
    with pytest.raises(SettingsError, match="presets/none"):
        load_settings(preset="none")
