from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.painted_tiles import paint
from tests.helpers.tile_folders import data
from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.dataset.reading import read_tiles
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError, UsageError
from wsi_necrosis.model.spec import ModelSpec
from wsi_necrosis.pipelines.evaluation.evaluate import Options, evaluate
from wsi_necrosis.pipelines.evaluation.known_tiles import Familiarity, familiarity


def test_tiles_of_which_some_were_in_the_training_are_refused(
    trained: Path, painted: Path, tmp_path: Path
) -> None:
    shutil.copytree(painted, tmp_path / "some")
    table = tmp_path / "some" / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines[:10], "new.png,D,viable"]), encoding="utf-8")
    Image.new("RGB", (64, 64), "purple").save(tmp_path / "some" / "new.png")
    with pytest.raises(
        DatasetError, match=r"9 of 10 tiles were in the training of 'tiny'; .* just the 21 training"
    ):
        evaluate(Options(str(trained), tmp_path / "some", tmp_path / "out"))


def test_other_tiles_of_a_trained_case_are_refused(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    tiles = paint(tmp_path / "tiles", {"B": ("viable",), "C": ("viable",), "F": ("viable",)}, 77, each=2)
    with pytest.raises(
        DatasetError,
        match=r"0 of 6 tiles .* of 'tiny', but other tiles of their cases B, C were.*--within-case",
    ):
        evaluate(Options(str(trained), tiles, tmp_path / "out"))


def test_training_tiles_under_other_cases_are_refused(trained: Path, painted: Path, tmp_path: Path) -> None:
    """Or tiles of one patient would stand on both sides of a split."""
    tiles = Path(shutil.copytree(painted, tmp_path / "tiles"))
    table = tiles / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",C,", ",A,"), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"under other cases \(A, B, not A, B, C\)"):
        evaluate(Options(str(trained), tiles, tmp_path / "out"))


def read(folder: Path) -> tuple[LabelledTile, ...]:
    """Tiles of a folder."""
    return read_tiles(data(folder), folder, Field(32, 1.0))


def listed_tiles(folder: Path, *names: str, case: str = "New") -> tuple[LabelledTile, ...]:
    """Tiles of pictures in a folder, all of one case."""
    return tuple(
        LabelledTile(folder / name, CERTAIN[2], case, "s", 0, 0, 0.5, sha256_of(folder / name))
        for name in names
    )


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture,
        lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
        lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).rotate(180),
        lambda picture: picture.resize((96, 96), Image.Resampling.BICUBIC),
    ],
    ids=["saved anew", "turned", "mirrored and turned", "resized"],
)
def test_a_training_tile_that_was_saved_anew_under_another_case_is_refused(
    change: Callable[[Image.Image], Image.Image], painted: Path, spec: ModelSpec, tmp_path: Path
) -> None:
    for name in ("A-viable-0.png", "B-viable-1.png"):
        with Image.open(painted / name) as picture:
            change(picture).save(tmp_path / f"{Path(name).stem}.jpg", quality=90)
    Image.effect_noise((64, 64), 60).convert("RGB").save(tmp_path / "new.png")
    tiles = listed_tiles(tmp_path, "A-viable-0.jpg", "B-viable-1.jpg", "new.png")
    for within_case in (False, True):
        with pytest.raises(
            DatasetError, match=r"2 of 3 tiles look like training tiles of 'tiny'.*A-viable-0\.jpg"
        ):
            familiarity(spec, tiles, within_case=within_case)


def test_a_training_tile_is_refused_within_its_case_too(painted: Path, spec: ModelSpec) -> None:
    tiles = listed_tiles(painted, "A-viable-0.png", case="A")
    with pytest.raises(DatasetError, match="1 of 1 tiles were in the training"):
        familiarity(spec, tiles, within_case=True)


def test_other_tiles_of_a_known_case_are_taken_where_that_is_asked_for(
    spec: ModelSpec, tmp_path: Path
) -> None:
    tiles = read(paint(tmp_path, {"B": ("viable",), "F": ("viable",)}, 77, each=2))
    assert familiarity(spec, tiles, within_case=True) == Familiarity(trained=False, cases=("B",))


def test_nothing_is_known_of_new_cases(spec: ModelSpec, fresh: Path) -> None:
    assert familiarity(spec, read(fresh)) == Familiarity(trained=False)


def test_training_tiles_are_known_and_not_within_case(painted: Path, spec: ModelSpec) -> None:
    assert familiarity(spec, read(painted)) == Familiarity(trained=True)
    with pytest.raises(UsageError, match="--within-case: these are the training tiles"):
        familiarity(spec, read(painted), within_case=True)
