from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.odd_slides import OME, padded, smaller, textured, write_levels
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.slide import open_slide

TOP = textured(900, 1000)


def read(path: Path, mpp: float) -> np.ndarray:
    with open_slide(path, Mpp(0.5, 0.5)) as slide:
        return slide.read(Box(0, 0, 896, 896), Mpp(mpp, mpp)).rgb.astype(int)


def codes(path: Path) -> list[str]:
    with open_slide(path) as slide:
        return [each.code for each in slide.info.warnings]


@pytest.mark.parametrize("shape", [(900, 1000), (900, 900), (833, 641)])
def test_levels_rounded_up_to_whole_tiles_have_their_true_factors(
    tmp_path: Path, shape: tuple[int, int]
) -> None:
    top = TOP[: shape[0], : shape[1]]
    levels = [padded(smaller(top, factor), 64) for factor in (1, 2, 4)]
    path, plain = write_levels(tmp_path / "a.tiff", levels), write_levels(tmp_path / "b.tiff", levels[:1])
    with open_slide(path) as slide:
        assert slide.info.downsamples == (1, 2, 4)
    for mpp in (1.0, 2.0):
        assert np.abs(read(path, mpp) - read(plain, mpp)).mean() < 2


def test_a_page_of_another_extent_is_no_level(tmp_path: Path) -> None:
    other = smaller(TOP[300:], 2)
    path = write_levels(tmp_path / "a.tiff", [TOP, other, smaller(TOP, 10)])
    plain = write_levels(tmp_path / "b.tiff", [TOP, smaller(TOP, 10)])
    with open_slide(path) as slide:
        assert slide.info.downsamples == (1, 10)
    assert codes(path) == ["level_left_out"]
    np.testing.assert_array_equal(read(path, 1.0), read(plain, 1.0))


def test_a_page_of_level_0s_size_is_no_level(tmp_path: Path) -> None:
    path = write_levels(tmp_path / "a.tiff", [TOP, TOP[::-1].copy(), smaller(TOP, 4)], [0.5, 0.5, 2.0])
    assert np.abs(read(path, 0.5) - TOP[:896, :896]).max() == 0


def test_a_page_whose_pixel_size_contradicts_is_asked_for_its_pixels(tmp_path: Path) -> None:
    other = smaller(TOP[::-1, ::-1].copy(), 2)
    wrong = write_levels(tmp_path / "a.tiff", [TOP, other], [0.5, 4.0])
    assert codes(wrong) == ["level_left_out"]
    right = write_levels(tmp_path / "b.tiff", [TOP, smaller(TOP, 2)], [0.5, 4.0])  # its tag alone is wrong
    assert codes(right) == []


def test_sub_directories_of_an_ome_tiff_are_judged_alike(tmp_path: Path) -> None:
    import tifffile

    options = {"photometric": "rgb", "tile": (64, 64)}
    with tifffile.TiffWriter(tmp_path / "a.ome.tiff", ome=True) as tiff:
        tiff.write(TOP, subifds=2, metadata=OME, **options)
        tiff.write(smaller(TOP[300:], 2), subfiletype=1, metadata=None, **options)
        tiff.write(smaller(TOP, 4), subfiletype=1, metadata=None, **options)
    with open_slide(tmp_path / "a.ome.tiff") as slide:
        assert slide.info.downsamples == (1, 4)
        assert [each.code for each in slide.info.warnings] == ["level_left_out"]


@pytest.mark.parametrize("factors", [(1, 2, 4), (1, 4, 16), (1, 3)])
def test_levels_cut_or_filled_by_less_than_a_pixel_are_kept(tmp_path: Path, factors: tuple[int, ...]) -> None:
    levels = [smaller(TOP[:899, :997], factor) for factor in factors]
    with open_slide(write_levels(tmp_path / "a.tiff", levels)) as slide:
        assert slide.info.downsamples == factors
        assert slide.info.warnings == ()


@pytest.mark.parametrize("page", ["a part of the slide", "turned", "nothing"])
def test_a_page_whose_size_fits_and_whose_picture_does_not_is_no_level(tmp_path: Path, page: str) -> None:
    whole = {
        "a part of the slide": TOP[-450:, -500:],
        "turned": smaller(TOP, 2)[::-1, ::-1],
        "nothing": np.full((450, 500, 3), 243, np.uint8),
    }[page]
    path = write_levels(tmp_path / "a.tiff", [TOP, whole.copy(), smaller(TOP, 4)])
    with open_slide(path) as slide:
        assert slide.info.downsamples == (1, 4)
    assert codes(path) == ["level_left_out"]


def test_a_level_of_blank_glass_is_kept(tmp_path: Path) -> None:
    glass = np.full((900, 1000, 3), 243, np.uint8)
    assert codes(write_levels(tmp_path / "a.tiff", [glass, smaller(glass, 2)])) == []
