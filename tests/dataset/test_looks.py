from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.tile_folders import tile
from tests.helpers.training_tiles import painted_tiles
from wsi_necrosis.dataset.looks import CLOSE, SIDE, alike, look_of
from wsi_necrosis.errors import DatasetError


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of coarse noise."""
    coarse = np.random.default_rng(1).integers(0, 256, (40, 40, 3), np.uint8)
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    Image.fromarray(coarse).resize((320, 320), Image.Resampling.BICUBIC).save(path)
    return path


def test_a_look_has_a_bit_for_every_pair_of_neighbours(noise: Path) -> None:
    assert len(look_of(noise)) * 4 == SIDE * (SIDE - 1)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_each_of_eight_turns_is_recognised(turn: int, mirrored: bool, noise: Path, tmp_path: Path) -> None:
    with Image.open(noise) as picture:
        changed = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else picture
        changed.rotate(turn).resize((200, 200)).save(tmp_path / "same.jpg", quality=60)
    same = tile(str(tmp_path / "same.jpg"), "A")
    assert alike([same], [look_of(noise)]) == (same,)


def test_other_tiles_are_not_alike(tmp_path: Path) -> None:
    tiles = painted_tiles(tmp_path, "AB", each=3)
    for at, one in enumerate(tiles):
        others = [look_of(each.path) for each in tiles[:at] + tiles[at + 1 :]]
        assert alike([one], others) == (), one.path.name


def test_nothing_is_alike_where_no_looks_are_known(noise: Path) -> None:
    assert alike([tile(str(noise), "A")], []) == ()


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"bad\.png cannot be read as a picture"):
        look_of(tmp_path / "bad.png")


def test_the_48_tiles_differ_from_one_another_by_more_than_is_allowed(data_dir: Path, tmp_path: Path) -> None:
    """And each is recognised after a strong compression at half its size."""
    paths = sorted((data_dir / "tcia_os").glob("*.jpg")) or sorted((data_dir / "tcia_os").glob("*.png"))
    looks = [look_of(path) for path in paths]
    for at, path in enumerate(paths):
        assert alike([tile(str(path), "A")], looks[:at] + looks[at + 1 :]) == (), path.name
        with Image.open(path) as picture:
            picture.convert("RGB").reduce(2).save(tmp_path / "same.jpg", quality=60)
        assert alike([tile(str(tmp_path / "same.jpg"), "A")], looks[at : at + 1]), path.name
    assert CLOSE < 50
