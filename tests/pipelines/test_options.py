from pathlib import Path

import pytest

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.pipelines.options import parse_mpp, settings_of


@pytest.mark.parametrize(
    ("text", "expected"), [(None, None), ("0.5", Mpp(0.5, 0.5)), ("0.5,0.25", Mpp(0.5, 0.25))]
)
def test_mpp_is_one_number_or_two(text: str | None, expected: Mpp | None) -> None:
    assert parse_mpp(text) == expected


@pytest.mark.parametrize("text", ["", "half", "1,2,3"])
def test_other_mpp_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="--mpp"):
        parse_mpp(text)


def test_an_option_of_its_own_comes_after_the_overrides() -> None:
    overrides = ["cluster.workers=3", "grid.stride_tiles=0.5"]
    assert settings_of(None, None, overrides, {"cluster.workers": 2}).cluster.workers == 2
    settings = settings_of(None, None, overrides, {"cluster.workers": None})
    assert (settings.cluster.workers, settings.grid.stride_tiles) == (3, 0.5)


def test_what_a_command_sets_by_itself_gives_way_to_all_that_a_user_sets(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("cluster: {processes: false}")
    own = ["cluster.processes=true"]
    assert settings_of(None, None, None, {}, own).cluster.processes
    assert not settings_of(None, config, None, {}, own).cluster.processes
    assert not settings_of(None, None, ["cluster.processes=false"], {}, own).cluster.processes
