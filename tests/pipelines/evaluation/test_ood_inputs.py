from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.errors import DatasetError, SlideError
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.pipelines.evaluation.ood_inputs import OodInput, Reaction, react, read_ood_inputs, summarise
from wsi_necrosis.settings.run import Settings, load_settings
from wsi_necrosis.slides.phantom import phantom_tiles

ROOT = Path(__file__).resolve().parents[3]
SHARES = {"masked", "abstained", "non_tumour", "tumour", "unreadable"}


def mosaic(*materials: str, side: int = 4) -> NDArray[np.uint8]:
    """A picture of 32 px squares: for each material of the phantom a column of `side` of them."""
    rng = np.random.default_rng(4)
    columns = [phantom_tiles(name, side, 32, rng).reshape(32 * side, 32, 3) for name in materials]
    return np.concatenate(columns, axis=1)


def painted(path: Path, rgb: NDArray[np.uint8]) -> Path:
    Image.fromarray(rgb).save(path)
    return path


def table(folder: Path, *rows: str, header: str = "file,group,expected,mpp") -> Path:
    path = folder / "ood_inputs.csv"
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of runs by the phantom's model with an OOD detector that is fitted to its own materials."""
    folder, spec, rng = tmp_path_factory.mktemp("model"), phantom_spec(), np.random.default_rng(2)
    tiles = np.concatenate(
        [phantom_tiles(name, 20, 32, rng) for name in ("non_tumour", "non_viable", "viable")]
    )
    points = describe(tiles)
    limit = 2 * float(OodDetector.fit(points, 1.0, 0.01).distance(points).max())
    network = phantom_network(spec)
    patched = type(spec)(**{**vars(spec), "ood": OodDetector.fit(points, limit, 0.01)})
    save_checkpoint(folder, patched, network.tensors())
    return load_settings(overrides=[f"model.name={folder}", "cluster.workers=1"])


@pytest.fixture(scope="module")
def reactions(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> tuple[Reaction, ...]:
    """To its own materials, to the same in green, and to glass."""
    folder = tmp_path_factory.mktemp("pictures")
    rgb = mosaic("non_tumour", "non_viable", "viable", "viable")
    green = (rgb // 4 + np.array([30, 140, 40])).astype(np.uint8)
    pictures = {"known": rgb, "odd": green, "bare": np.full_like(rgb, 245)}
    inputs = [
        OodInput(painted(folder / f"{name}.png", pixels), name, "open" if name == "known" else "ood", 1.0)
        for name, pixels in pictures.items()
    ]
    return tuple(react(inputs, settings))


def test_the_shipped_table_is_whole(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSI_NECROSIS_DATA", str(data_dir))
    found = read_ood_inputs(ROOT / "benchmarks" / "ood_inputs.csv")
    assert {each.expected for each in found} == {"ood", "open"}
    assert len({each.path for each in found}) == len(found)


def test_a_table_names_pictures_and_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the table, or by a variable; a slide may have a pixel size of its own."""
    monkeypatch.setenv("HERE", str(tmp_path))
    for name in ("a.png", "b.svs"):
        (tmp_path / name).touch()
    found = read_ood_inputs(table(tmp_path, "a.png,pen,ood,0.5", "$HERE/b.svs,H&E,open,"))
    assert found == (
        OodInput(tmp_path / "a.png", "pen", "ood", 0.5),
        OodInput(tmp_path / "b.svs", "H&E", "open", None),
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("none.png,pen,ood,1", "names .*none.png, which is not there"),
        ("$NOT_SET/a.png,pen,ood,1", "names .*NOT_SET/a.png, which is not there"),
        (",pen,ood,1", "which is not there"),
        ("a.png,pen,strange,1", "a.png is expected to be 'strange'; write ood, unseen or open"),
        ("a.png,pen", "a.png is expected to be ''; write ood, unseen or open"),
        ("a.png,pen,ood,fine", "a.png has the pixel size 'fine'"),
        ("a.png,pen,ood,-1", "a.png has the pixel size '-1'"),
        ("a.png,pen,ood,nan", "a.png has the pixel size 'nan'"),
        ("a.png,pen,ood,", "a.png is a picture, which carries no pixel size"),
    ],
)
def test_each_fault_of_a_row_is_named(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DatasetError, match=message):
        read_ood_inputs(table(tmp_path, row))


def test_faults_of_a_table_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="lacks the columns expected, mpp"):
        read_ood_inputs(table(tmp_path, "a.png,pen", header="file,group"))
    with pytest.raises(DatasetError, match="has no rows"):
        read_ood_inputs(table(tmp_path))
    with pytest.raises(DatasetError, match=r"none\.csv cannot be read"):
        read_ood_inputs(tmp_path / "none.csv")
    (tmp_path / "ood_inputs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="is not text in UTF-8"):
        read_ood_inputs(tmp_path / "ood_inputs.csv")


def test_a_table_may_come_from_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "a.svs").touch()
    path = table(tmp_path, "a.svs,pen,open,")
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert len(read_ood_inputs(path)) == 1


def test_shares_of_the_area_add_up_to_one(reactions: tuple[Reaction, ...]) -> None:
    for reaction in reactions:
        shares = reaction.row()["shares"]
        assert set(shares) == SHARES
        assert sum(shares.values()) == pytest.approx(1, abs=5e-4), reaction.unknown.group
        assert min(shares.values()) >= 0


def test_known_materials_are_scored_and_others_abstain(reactions: tuple[Reaction, ...]) -> None:
    known, odd, bare = (reaction.row() for reaction in reactions)
    assert known["shares"]["abstained"] < 0.1
    assert known["shares"]["tumour"] == pytest.approx(0.75, abs=0.1)
    assert known["shares"]["non_tumour"] == pytest.approx(0.25, abs=0.1)
    assert odd["status"] == "out_of_domain"
    assert odd["shares"]["abstained"] > 0.9
    assert odd["least_distance"] > 1
    assert (bare["status"], bare["shares"]["masked"], bare["least_distance"]) == ("no_tissue", 1.0, None)


def test_cells_are_those_of_the_picture(reactions: tuple[Reaction, ...]) -> None:
    """4 x 4 cells; those of glass are all masked."""
    known, odd, bare = reactions
    counts = {reaction.row()["cells"] for reaction in reactions}
    assert counts == {16}
    assert bare.held_off == bare.masked_cells == 16
    assert (odd.held_off, odd.masked_cells) == (16, 0)
    assert known.held_off <= 1


def test_a_slide_is_taken_as_it_is(settings: Settings, tmp_path: Path) -> None:
    """With the pixel size of the table, or its own; nothing but the slide is left behind."""
    path = tmp_path / "slide.tiff"
    tifffile.imwrite(
        path, mosaic("viable", "viable", "viable", "viable"), tile=(64, 64), photometric="rgb",
        resolution=(1e4, 1e4), resolutionunit="CENTIMETER",
    )  # fmt: skip
    given, own = react([OodInput(path, "own", "open", mpp) for mpp in (1.0, None)], settings)
    assert given.row() == own.row()
    assert given.row()["shares"]["tumour"] > 0.8
    assert [each.name for each in tmp_path.iterdir()] == ["slide.tiff"]


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\nrubbish"])
def test_a_picture_that_cannot_be_read_is_named(content: bytes, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"broken\.png cannot be read"):
        list(react([OodInput(tmp_path / "broken.png", "x", "open", 1.0)], settings))


def test_a_decompression_bomb_is_refused(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = painted(tmp_path / "bomb.png", mosaic("viable"))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(DatasetError, match=r"bomb\.png cannot be read"):
        list(react([OodInput(path, "x", "open", 1.0)], settings))


def test_a_file_that_is_no_slide_is_refused(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "slide.svs").write_bytes(b"nothing")
    with pytest.raises(SlideError, match=r"slide\.svs"):
        list(react([OodInput(tmp_path / "slide.svs", "x", "open", 1.0)], settings))


def made_up(group: str, expected: str, distance: list[float], masked: int = 0) -> Reaction:
    """A reaction to a picture of 100 px, half of it masked."""
    ledger: Mapping[str, Any] = {
        "total_px": 100,
        "pixel_mm2": 0.01,
        "mm2": {
            "background": 0.5, "abstained": 0.2, "non_tumour_by_class": 0.1, "non_viable_by_class": 0.1,
            "viable_by_class": 0.05,
            "unreadable": 0.05,
        },
    }  # fmt: skip
    result = {"status": "scored", "reason": None, "ledger": ledger}
    return Reaction(
        OodInput(Path("a.png"), group, expected, 1.0), result, masked, np.array(distance, np.float32)
    )


def test_a_row_gives_the_shares_of_the_area() -> None:
    assert made_up("pen", "ood", [0.5, 1.5], masked=3).row() == {
        "file": "a.png",
        "group": "pen",
        "expected": "ood",
        "status": "scored",
        "shares": {"masked": 0.5, "abstained": 0.2, "non_tumour": 0.1, "tumour": 0.15, "unreadable": 0.05},
        "cells": 5,
        "held_off_cells": 4,
        "least_distance": 0.5,
    }


def test_auroc_compares_groups_with_familiar_crops() -> None:
    """Pen: of 2 x 4 pairs, .5 beats one of four, 2 beats four: 5 of 8. The tie at 1 of IHC counts half: 3.5 of 4."""
    familiar = np.array([0.25, 0.75, 0.75, 1.0])
    found = summarise(
        [
            made_up("pen", "ood", [0.5, 2.0], masked=1),
            made_up("IHC", "ood", [1.0]),
            made_up("blank", "ood", [], masked=4),
            made_up("H&E", "open", [0.1]),
        ],
        familiar,
    )
    assert found["auroc"] == {
        "pen": 0.625, "IHC": 0.875, "blank": None, "H&E": 0.0,
        "all that should be refused": round((1 + 4 + 3.5) / 12, 4),
    }  # fmt: skip
    assert found["held_off_cells"] == [1 + 1 + 0 + 4, 3 + 1 + 4]
    assert found["held_off"] == 0.75
    assert found["familiar_abstained"] == 0.0
    assert found["unseen_cells"] == [0, 0]
    assert len(found["rows"]) == 4


def test_unseen_pictures_are_counted_by_themselves() -> None:
    rows = [made_up("pen", "ood", [2.0], masked=1), made_up("made", "unseen", [0.5, 2.0], masked=3)]
    found = summarise(rows, np.array([0.5]))
    assert (found["held_off_cells"], found["unseen_cells"]) == ([2, 2], [4, 5])
    assert found["auroc"]["all that should be refused"] == 1.0


def test_rows_of_one_group_are_taken_together() -> None:
    found = summarise([made_up("pen", "ood", [2.0]), made_up("pen", "ood", [0.0])], np.array([1.0, 1.5]))
    assert found["auroc"] == {"pen": 0.5, "all that should be refused": 0.5}
    assert found["familiar_abstained"] == 0.5


def test_without_inputs_that_are_expected_as_ood_there_is_no_share() -> None:
    found = summarise([made_up("H&E", "open", [0.5])], np.array([0.2]))
    assert (found["held_off"], found["held_off_cells"]) == (None, [0, 0])
    assert found["auroc"] == {"H&E": 1.0, "all that should be refused": None}
