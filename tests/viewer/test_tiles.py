from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.array_slide import ArraySlide
from tests.helpers.jpeg_slides import JpegKind, tissue_like, write_slide
from wsi_necrosis.errors import SlideChangedError, UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.overview import Overview, read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.viewer.tiles import (
    COARSEST_PX,
    OverviewTiles,
    ShownLevel,
    SlideTiles,
    from_overview,
    levels_of,
)

MPP = Mpp(0.5, 0.5)
KINDS = [
    JpegKind(),
    JpegKind(colour="RGB", sampling="444"),
    JpegKind(has_tables=True, vendor="aperio"),
    JpegKind(tile=240),
]


def no_overview() -> Overview:
    raise AssertionError("not needed")


def ome_tiff(path: Path) -> Path:
    options = {"tile": (256, 256), "compression": "jpeg", "photometric": "ycbcr", "metadata": None}
    size = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    pixels = tissue_like(600, 700)
    tifffile.imwrite(path, pixels, ome=True, **{**options, "metadata": size}, subsampling=(2, 2))
    return path


@pytest.mark.parametrize("kind", [*KINDS, None], ids=str)
def test_stored_tiles_are_given_as_they_are_and_show_the_pixels_that_are_read(
    tmp_path: Path, kind: JpegKind | None
) -> None:
    path = tmp_path / "a.tiff"
    stored = ome_tiff(path) if kind is None else write_slide(path, tissue_like(600, 700), kind)
    in_file = stored.read_bytes()
    with open_slide(stored, MPP) as slide:
        tiles = SlideTiles(slide, no_overview)
        assert [level.stored for level in tiles.levels] == list(range(len(slide.info.levels)))
        for at, level in enumerate(tiles.levels):
            for row, col in np.ndindex(level.shape):
                jpeg = tiles.tile(at, row, col)
                box, (height, width) = level.box(row, col)
                read = slide.read(box, Mpp(0.5 * level.downsample, 0.5 * level.downsample)).rgb
                assert np.array_equal(simplejpeg.decode_jpeg(jpeg)[:height, :width], read)
                assert jpeg[-200:] in in_file  # the very bytes of its pixels


def test_other_levels_are_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    pixels = tissue_like(600, 700)
    tifffile.imwrite(path, pixels, tile=(128, 128), photometric="rgb", compression="deflate")
    with open_slide(path, MPP) as slide:
        tiles = SlideTiles(slide, no_overview)
        assert [level.stored for level in tiles.levels] == [None]
        shown = simplejpeg.decode_jpeg(tiles.tile(0, 1, 1))
        assert shown.shape == (88, 188, 3)
        assert np.abs(shown.astype(int) - pixels[512:, 512:]).mean() < 4


def test_far_levels_come_from_the_overview(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsi_necrosis.viewer.tiles.COARSEST_PX", 64)
    path = write_slide(tmp_path / "a.tiff", tissue_like(640, 640), JpegKind(factors=(1,)))
    with open_slide(path, MPP) as slide:
        overview = read_overview(slide)
        tiles = SlideTiles(slide, lambda: overview)
        assert [level.downsample for level in tiles.levels] == [1, 4, 16]
        shown = simplejpeg.decode_jpeg(tiles.tile(2, 0, 0))
        assert shown.shape == (40, 40, 3)
        read = slide.read(Box(0, 0, 640, 640), Mpp(8, 8)).rgb
        assert np.abs(shown.astype(int) - read).mean() < 8


@pytest.mark.parametrize("place", [(0, 3, 0), (0, 0, 3), (2, 0, 0), (0, 10**8, 10**8), (10**8, 0, 0)])
def test_a_tile_that_is_not_there_is_refused(tmp_path: Path, place: tuple[int, int, int]) -> None:
    path = write_slide(tmp_path / "a.tiff", tissue_like(600, 700), JpegKind())
    with open_slide(path, MPP) as slide, pytest.raises(UsageError, match="there is no"):
        SlideTiles(slide, no_overview).tile(*place)


def test_a_slide_that_changes_while_it_is_shown_is_refused(tmp_path: Path) -> None:
    path = write_slide(tmp_path / "a.tiff", tissue_like(600, 700), JpegKind())
    with open_slide(path, MPP) as slide:
        tiles = SlideTiles(slide, no_overview)
        tiles.tile(0, 0, 0)
        path.write_bytes(path.read_bytes() + b"0")
        with pytest.raises(SlideChangedError):
            tiles.tile(0, 0, 0)


@given(width=st.integers(1, 200_000), height=st.integers(1, 200_000), coarsest=st.integers(1, 64))
def test_levels_lead_from_the_finest_to_one_that_fits_a_screen(
    width: int, height: int, coarsest: int
) -> None:
    slide = ArraySlide(np.zeros((4, 4, 3), np.uint8))
    scales = (1.0, float(coarsest)) if coarsest > 1 else (1.0,)
    sizes = tuple((max(1, round(width / scale)), max(1, round(height / scale))) for scale in scales)
    slide.info = slide.info.__class__(
        **{**slide.info.__dict__, "size_l0": (width, height), "downsamples": scales, "levels": sizes}
    )
    slide.jpeg_tiles = (None,) * len(scales)
    levels = levels_of(slide)
    steps = [coarser.downsample / finer.downsample for finer, coarser in pairwise(levels)]
    assert all(1 < step <= 4.8 for step in steps)
    assert max(levels[-1].size) <= COARSEST_PX
    rows, cols = levels[0].shape
    assert levels[0].box(rows - 1, cols - 1)[0].right_l0 == width


def test_a_part_of_an_overview_lies_where_its_plane_does() -> None:
    rgb = np.zeros((10, 10, 3), np.uint8)
    rgb[:5] = 200
    overview = Overview(rgb, np.zeros((10, 10), bool), Box(20, 40, 80, 80), (8, 8), Mpp(4, 4))
    found = from_overview(overview, Box(0, 0, 120, 120), (30, 30))
    assert (found[:10] == 255).all()
    assert (found[10:20, 5:25] == 200).all()
    assert (found[20:30, 5:25] == 0).all()
    assert (found[:, 25:] == 255).all()
    assert (from_overview(overview, Box(200, 200, 10, 10), (5, 5)) == 255).all()


def test_without_its_slide_the_overview_is_shown() -> None:
    rgb = np.full((10, 20, 3), 90, np.uint8)
    overview = Overview(rgb, np.zeros((10, 20), bool), Box(0, 0, 160, 80), (8, 8), Mpp(4, 4))
    tiles = OverviewTiles(overview, (160, 80))
    assert tiles.levels == (ShownLevel(8.0, (20, 10), (512, 512)),)
    assert (simplejpeg.decode_jpeg(tiles.tile(0, 0, 0)) == 90).all()
    with pytest.raises(UsageError):
        tiles.tile(1, 0, 0)
