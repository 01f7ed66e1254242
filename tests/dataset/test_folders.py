from pathlib import Path

import pytest

from tests.helpers.tile_folders import picture
from wsi_necrosis.dataset.entries import Entry
from wsi_necrosis.dataset.folders import read_folders
from wsi_necrosis.errors import DatasetError


def test_folders_give_case_and_label(tmp_path: Path) -> None:
    second, first = picture(tmp_path / "B" / "Viable" / "1.jpg"), picture(tmp_path / "A" / "wrong" / "2.png")
    expected = Entry("A/wrong/2.png", first, "wrong", "A"), Entry("B/Viable/1.jpg", second, "Viable", "B")
    assert read_folders(tmp_path) == expected


def test_pictures_elsewhere_are_listed(tmp_path: Path) -> None:
    for name in ("A/Viable/1.png", "2.png", "A/3.png", "A/Viable/deep/4.png"):
        picture(tmp_path / name)
    with pytest.raises(DatasetError, match=r"CASE/LABEL: '2\.png', 'A/3\.png', 'A/Viable/deep/4\.png'"):
        read_folders(tmp_path)
