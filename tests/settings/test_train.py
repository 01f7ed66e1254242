import json
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


@pytest.mark.parametrize(
    ("tiles", "said"), [("", "no labelled tiles are named"), ("$NO_SUCH_VARIABLE/tiles", "names a variable")]
)
def test_a_place_that_is_not_known_is_refused(tiles: str, said: str) -> None:
    data = load_train_settings(None, [f"data.tiles='{tiles}'"]).data
    with pytest.raises(SettingsError, match=f"{said}.*--tiles PATH"):
        _ = data.path


def test_what_is_known_of_the_tiles_of_tcia_is_said_of_no_other() -> None:
    data = load_train_settings().data
    assert {data.source, data.doi, data.licence} == {"not stated"}
    assert (data.mpp_um, data.note, data.centre) == (None, "", "centre not stated")
    assert load_train_settings().network.name is None
    of_tcia = load_train_settings(preset="tcia")
    assert (of_tcia.data.doi, of_tcia.data.mpp_um) == ("10.7937/tcia.2019.bvhjhdas", 0.5)
    assert "one centre" in of_tcia.network.notice
    assert "centre" not in load_train_settings().network.notice


@pytest.mark.parametrize("name", ["../../x", "/x", "a b", "", ".hidden", "x" * 65, "a\n"])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(SettingsError, match=r"network\.name"):
        load_train_settings(None, [f"network.name={json.dumps(name)}"])


@pytest.mark.parametrize(
    "override",
    ["data.min_cover=0.5", "crops.jitter=1", "fit.batch=1", "fit.test_seeds=[1, 1]", "network.members=4"],
)
def test_values_out_of_range_are_named(override: str) -> None:
    with pytest.raises(SettingsError, match=override.partition("=")[0]):
        load_train_settings(None, ["data.tiles=x", override])
