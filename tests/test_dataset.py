from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.dataset import COLUMNS, Fold, LabelledTile, cases_of, cut_crops, leave_case_out, read_labels
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.settings import CropSettings

CROPS = CropSettings(tile_px=8, mpp_um=1.0, per_side=3, views=8, batch=4, workers=1)


def row(file: str, label: str = "Viable", case: str = "A", **more: str) -> dict[str, str]:
    return {"file": file, "case": case, "slide": f"{case}-1", "x": "10", "y": "20", "label": label} | more


def write(
    folder: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str] = (*COLUMNS, "sha256")
) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as lines:
        writer = csv.DictWriter(lines, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for entry in rows:
        Image.new("RGB", (40, 40)).save(folder / entry["file"])
    return folder


def test_labels_become_classes(tmp_path: Path) -> None:
    rows = [row("a.png", "Non-Tumor"), row("b.png", "Non-Viable-Tumor"), row("c.png", "Viable", sha256="77")]
    tiles = read_labels(write(tmp_path, rows), mpp=0.5)
    assert [tile.label for tile in tiles] == [NON_TUMOUR, NON_VIABLE, VIABLE]
    assert tiles[2] == LabelledTile(tmp_path / "c.png", VIABLE, "A", "A-1", 10, 20, 0.5, "77")


def test_mixed_tiles_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    rows = [row("a.png"), row("b.png", "viable: non-viable")]
    assert len(read_labels(write(tmp_path, rows), mpp=0.5)) == 1
    assert "1 of 2 tiles" in caplog.text


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a.png", "viable"), row("b.png", "Viabel")], "unknown labels 'Viabel', 'viable'"),
        ([row("a.png", "Viable: Non-Viable")], "unknown labels"),
        ([row("a.png", "")], "unknown labels ''"),
        ([row("a.png", case="")], "names no case for 'a.png'"),
        ([row("a.png"), row("a.png")], "more than once"),
        ([row("a.png", x="left")], "position 'left'"),
        ([], "lists no tiles"),
    ],
)
def test_faulty_rows_are_named(tmp_path: Path, rows: list[dict[str, str]], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_labels(write(tmp_path, rows), mpp=0.5)


def test_missing_pictures_columns_and_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_labels(tmp_path / "nowhere", mpp=0.5)
    folder = write(tmp_path / "one", [row("a.png")])
    (folder / "a.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks 'a\.png'"):
        read_labels(folder, mpp=0.5)
    with pytest.raises(DatasetError, match="lacks the columns case"):
        read_labels(write(tmp_path / "two", [row("a.png")], ("file", "slide", "x", "y", "label")), mpp=0.5)


def tile(name: str, case: str, sha256: str = "") -> LabelledTile:
    return LabelledTile(Path(name), VIABLE, case, "s", 0, 0, 0.5, sha256)


@given(st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=30).filter(lambda cases: len(set(cases)) > 1))
def test_each_case_is_left_out_once(cases: list[str]) -> None:
    tiles = tuple(tile(str(at), case) for at, case in enumerate(cases))
    folds = leave_case_out(tiles)
    assert tuple(fold.test[0].case for fold in folds) == cases_of(tiles)
    assert sorted(t.path.name for fold in folds for t in fold.test) == sorted(t.path.name for t in tiles)
    for fold in folds:
        assert not set(cases_of(fold.train)) & set(cases_of(fold.test))
        assert set(fold.train) | set(fold.test) == set(tiles)


def test_leaks_are_refused() -> None:
    with pytest.raises(DatasetError, match="share 'A'"):
        Fold((tile("a", "A"),), (tile("b", "A"),))
    with pytest.raises(DatasetError, match="one picture under two cases"):
        leave_case_out((tile("a", "A", "77"), tile("b", "B", "77")))
    with pytest.raises(DatasetError, match="at least two"):
        leave_case_out((tile("a", "A"), tile("b", "A")))


def test_crops_are_area_averages_spread_over_the_tile(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    fine = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(fine).save(tmp_path / "a.png")
    crops = cut_crops(replace(tile("a.png", "A"), path=tmp_path / "a.png"), CROPS)
    coarse = fine.reshape(20, 2, 20, 2, 3).mean(axis=(1, 3))
    assert crops.shape == (9, 8, 8, 3)
    np.testing.assert_allclose(crops[0], coarse[:8, :8], atol=0.5)
    np.testing.assert_allclose(crops[5], coarse[6:14, 12:], atol=0.5)
    np.testing.assert_allclose(crops[8], coarse[12:, 12:], atol=0.5)


def test_crops_that_cannot_be_cut_are_refused(tmp_path: Path) -> None:
    found = replace(tile("a.png", "A"), path=tmp_path / "a.png")
    found.path.write_text("no picture")
    with pytest.raises(DatasetError, match="cannot be read"):
        cut_crops(found, CROPS)
    Image.new("RGB", (12, 12)).save(found.path)
    with pytest.raises(DatasetError, match="less than a 8 px crop"):
        cut_crops(found, CROPS)
    with pytest.raises(DatasetError, match="no whole fraction"):
        cut_crops(replace(found, mpp=0.7), CROPS)


@pytest.mark.real
def test_the_real_tiles_are_read(data_dir: Path) -> None:
    tiles = read_labels(data_dir / "tcia_os", mpp=0.5)
    assert np.bincount([tile.label for tile in tiles]).tolist() == [16, 16, 16]
    assert cases_of(tiles) == ("Case-3", "Case-4", "Case-48-P5", "P9")
    assert len(leave_case_out(tiles)) == 4
