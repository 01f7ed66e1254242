from pathlib import Path

import pytest

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.loading import shipped_yaml
from wsi_necrosis.settings.train import load_train_settings


def test_the_shipped_file_is_complete_and_has_no_more() -> None:
    assert load_train_settings().model_dump(mode="json") == shipped_yaml("train.yaml")


def test_the_place_of_the_tiles_may_name_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILES_OF_A_TEST", "/somewhere")
    data = load_train_settings(None, ["data.tiles=${TILES_OF_A_TEST}/tiles"]).data
    assert data.path == Path("/somewhere/tiles")


@pytest.mark.parametrize("tiles", ["", "$NO_SUCH_VARIABLE/tiles"])
def test_a_place_that_is_not_known_is_refused(tiles: str) -> None:
    data = load_train_settings(None, [f"data.tiles='{tiles}'"]).data
    with pytest.raises(SettingsError, match=r"data\.tiles .*--set data\.tiles=PATH"):
        _ = data.path


@pytest.mark.parametrize(
    "override",
    ["data.min_cover=0.5", "crops.jitter=1", "fit.batch=1", "fit.test_seeds=[1, 1]", "network.members=4"],
)
def test_values_out_of_range_are_named(override: str) -> None:
    with pytest.raises(SettingsError, match=override.partition("=")[0]):
        load_train_settings(None, ["data.tiles=x", override])
