"""The fast reader against OpenSlide, and what it leaves to OpenSlide."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from tests.helpers.faults import FailingReads
from tests.helpers.jpeg_slides import (
    JpegKind,
    encoded,
    replace_tile,
    set_tile,
    tissue_like,
    write_level,
    write_slide,
)
from wsi_necrosis.errors import ReadError, SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.jpeg_decode import SOI
from wsi_necrosis.slides.jpeg_tiff_reader import levels_between
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.blocks import read_block
from wsi_necrosis.tiling.grid import TileGrid

HEIGHT, WIDTH = 700, 1100  # whole numbers of no tile's side
PICTURE = tissue_like(HEIGHT, WIDTH)
JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
PLANE = Box(0, 0, WIDTH, HEIGHT)
L0, HALF = Mpp(0.25, 0.25), Mpp(0.5, 0.5)
KINDS = [
    JpegKind(256, "YCbCr", "420"),
    JpegKind(240, "YCbCr", "444"),
    JpegKind(256, "YCbCr", "422", vendor="aperio", factors=(1, 2, 8)),
    JpegKind(240, "YCbCr", "420", has_tables=True, vendor="aperio"),
    JpegKind(240, "RGB", "444", has_tables=True, vendor="aperio"),
    JpegKind(256, "RGB", "444", has_tables=True, factors=(1,)),
]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def stored(request, tmp_path_factory) -> Path:
    return write_slide(tmp_path_factory.mktemp("jpeg") / "slide.tiff", PICTURE, request.param)


@pytest.fixture
def slide_file(tmp_path) -> Path:
    return write_slide(tmp_path / "slide.tiff", PICTURE, JpegKind(128))


def test_what_the_file_says_comes_from_openslide(stored):
    with open_slide(stored) as fast, open_slide(stored, reader="openslide") as slow:
        assert (fast.info.reader, slow.info.reader) == ("jpeg-tiff", "openslide")
        assert fast.info.levels == slow.info.levels
        assert fast.info.downsamples == slow.info.downsamples
        assert fast.info.mpp == slow.info.mpp == L0


def test_stored_levels_agree_with_openslide(stored):
    with open_slide(stored) as fast, open_slide(stored, reader="openslide") as slow:
        whole = [factor for factor in fast.info.downsamples if factor in {1, 2, 4}]
        for factor in whole:  # OpenSlide interpolates others
            ours, theirs = (slide.read(PLANE, L0.scaled(factor, factor)).rgb for slide in (fast, slow))
            apart = np.abs(ours.astype(int) - theirs)
            assert apart.max() <= 2
            assert apart.mean() < 0.5


def test_coarser_pixels_are_the_averages(stored):
    """OpenSlide's pixels of the same stored level, averaged; tiles go on beyond the slide, in black."""
    overhanging = Box(-64, -64, WIDTH + 144, HEIGHT + 168)
    with open_slide(stored) as fast, open_slide(stored, reader="openslide") as slow:
        for factor in {2, 3, 4, 6, 8, 16} - set(fast.info.downsamples):
            mpp = L0.scaled(factor, factor)
            ours, theirs = (slide.read(overhanging, mpp).rgb.astype(int) for slide in (fast, slow))
            assert np.abs(ours - theirs).max() <= 2
            assert np.abs(ours - theirs).mean() < 0.5
            border = -(-(HEIGHT + 64) // factor) - 1
            np.testing.assert_array_equal(ours[border], theirs[border])
            assert (ours[border + 1 :] == 255).all()


def test_coarser_pixels_are_means_to_the_bit(tmp_path):
    """Also at clipped white and beyond the slide, and where squares of pixels begin elsewhere."""
    picture = PICTURE.copy()
    picture[200:430, 300:710] = 255
    path = write_slide(tmp_path / "slide.tiff", picture, JpegKind(256, factors=(1,)))
    with open_slide(path) as slide:
        assert slide.info.reader == "jpeg-tiff"
        for left, top in ((-64, -64), (-63, -64), (32, 17)):
            box = Box(left, top, 1280, 896)
            own = Image.fromarray(slide.read(box, L0).rgb)
            for factor in (2, 4, 8, 16):
                means = slide.read(box, L0.scaled(factor, factor)).rgb
                np.testing.assert_array_equal(means, np.asarray(own.reduce(factor)))


def test_levels_between_come_from_the_coarsest_that_gives_them():
    assert levels_between((1.0, 4.0, 16.0)) == [(0, 2), (1, 2), (2, 2), (2, 4), (2, 8), (2, 16)]
    assert levels_between((1.0, 2.0, 8.0))[:2] == [(1, 2), (2, 2)]
    assert levels_between((1.0,)) == [(0, 2), (0, 4), (0, 8), (0, 16)]


def test_needed_pixels_are_those_of_a_plain_read(stored):
    needed = [Box(40, 300, 100, 90), Box(700, 20, 30, 600), Box(WIDTH - 9, HEIGHT - 9, 30, 30)]
    for reader in ("jpeg-tiff", "openslide"):
        for mpp in (L0, HALF, Mpp(2.0, 2.0), Mpp(0.61, 0.61)):
            with open_slide(stored, reader=reader) as slide:
                plain = slide.read(PLANE, mpp)
            with open_slide(stored, reader=reader) as slide:
                region = slide.read(PLANE, mpp, needed)
            for box in needed:
                rows = slice(int(box.y_l0 * 0.25 / mpp.y), round(box.bottom_l0 * 0.25 / mpp.y))
                cols = slice(int(box.x_l0 * 0.25 / mpp.x), round(box.right_l0 * 0.25 / mpp.x))
                np.testing.assert_array_equal(region.rgb[rows, cols], plain.rgb[rows, cols])
            assert region.decoded_l0 <= plain.decoded_l0


def test_threads_read_alike(stored):
    boxes = [Box(x, y, 300, 250) for x in range(-50, WIDTH, 110) for y in range(-50, HEIGHT, 90)]
    with open_slide(stored) as slide:
        alone = [slide.read(box, HALF).rgb for box in boxes]
    with open_slide(stored) as slide, ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda box: slide.read(box, HALF).rgb, boxes))
    for ours, theirs in zip(alone, together, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_tile_shared_by_two_reads_is_decoded_once(slide_file):
    with open_slide(slide_file) as slide:
        left, right = (slide.read(Box(x, 128, 192, 128), L0).decoded_l0 for x in (128, 320))
        again = slide.read(Box(256, 128, 128, 128), L0)
    assert (left, right) == (2 * 128 * 128, 128 * 128)  # tiles 1 and 2, then 3; 2 is kept
    assert again.decoded_l0 == 0
    np.testing.assert_allclose(again.rgb, PICTURE[128:256, 256:384], atol=60)


@pytest.mark.parametrize("mpp", [L0, HALF], ids=["level 0", "half"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: bytes(len(data)),
        lambda data: b"\xff" * len(data),
        lambda data: data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        lambda data: data[::-1],
    ],
    ids=["zeros", "ones", "cut", "reversed"],
)
def test_only_the_damaged_tile_is_lost(slide_file, change, mpp):
    with open_slide(slide_file) as slide:
        expected = slide.read(PLANE, mpp).rgb.copy()
    replace_tile(slide_file, tile=11, change=change)  # row 1, column 2
    with open_slide(slide_file) as slide:
        assert slide.info.reader == "jpeg-tiff"
        regions = [slide.read(PLANE, mpp) for _ in range(3)]
    lost = Box(256, 128, 128, 128)
    side, scale = round(128 * 0.25 / mpp.x), round(mpp.x / 0.25)
    expected[side : 2 * side, 2 * side : 3 * side] = 255
    for region in regions:
        assert region.unreadable == (lost,)
        assert scale * side == 128
        np.testing.assert_array_equal(region.rgb, expected)


def test_a_file_that_ends_before_its_last_tile_is_refused(slide_file):
    """As a copy that is not complete, whose missing tissue would be counted as damaged."""
    set_tile(slide_file, "TileOffsets", tile=11, value=slide_file.stat().st_size - 50)
    with pytest.raises(
        ReadError, match=r"slide\.tiff has \d+ bytes where its directory names \d+.*copy it again"
    ):
        open_slide(slide_file)


def test_a_file_that_is_cut_while_it_is_read_is_a_read_error_until_it_is_whole(slide_file):
    whole = slide_file.read_bytes()
    with open_slide(slide_file) as slide:
        os.truncate(slide_file, len(whole) // 2)
        with pytest.raises(ReadError, match="ends before its last tile"):
            slide.read(PLANE, L0)
        slide_file.write_bytes(whole)
        assert slide.read(PLANE, L0).unreadable == ()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EACCES])
def test_an_error_of_the_system_ends_a_read_and_not_the_next(slide_file, monkeypatch, number):
    with open_slide(slide_file) as slide:
        expected = slide.read(PLANE, L0).rgb
    with open_slide(slide_file) as slide:
        FailingReads(monkeypatch, left=1, after=5, number=number)
        with pytest.raises(ReadError, match=re.escape(os.strerror(number))):
            slide.read(PLANE, L0)
        region = slide.read(PLANE, L0)
    assert region.unreadable == ()
    np.testing.assert_array_equal(region.rgb, expected)


def test_a_file_is_opened_anew_after_an_error_of_the_system(slide_file, monkeypatch):
    """A stale handle of a share stays stale."""
    with open_slide(slide_file) as slide:
        replaced = slide_file.with_name("again")
        shutil.copyfile(slide_file, replaced)
        FailingReads(monkeypatch, left=1)
        with pytest.raises(ReadError):
            slide.read(PLANE, L0)
        replaced.replace(slide_file)
        replace_tile(slide_file, tile=11, change=lambda data: bytes(len(data)))
        assert slide.read(PLANE, L0).unreadable == (Box(256, 128, 128, 128),)


def test_an_error_of_the_system_does_not_choose_the_reader(slide_file, monkeypatch):
    for after in range(6):
        with monkeypatch.context() as patch:
            FailingReads(patch, left=1, after=after)
            with pytest.raises(ReadError, match="Input/output error"):
                open_slide(slide_file)


def test_an_empty_tile_is_white(slide_file):
    set_tile(slide_file, "TileByteCounts", tile=11, value=0)
    for reader in ("jpeg-tiff", "openslide"):
        for mpp in (L0, HALF):
            with open_slide(slide_file, reader=reader) as slide:
                region = slide.read(Box(256, 128, 128, 128), mpp)
            assert (region.rgb == 255).all()
            assert region.unreadable == ()


def refused(path: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Why the fast reader leaves a slide to OpenSlide."""
    with caplog.at_level(logging.INFO), open_slide(path) as slide:
        assert slide.info.reader == "openslide"
    with pytest.raises(SlideError, match="cannot be read with jpeg-tiff"):
        open_slide(path, reader="jpeg-tiff")
    return caplog.text


def test_empty_tiles_of_an_aperio_pyramid_are_left_to_openslide(tmp_path, caplog):
    path = write_slide(tmp_path / "slide.svs", PICTURE, JpegKind(128, vendor="aperio"))
    set_tile(path, "TileByteCounts", tile=11, value=0)
    assert "some of its tiles are empty" in refused(path, caplog)


def test_other_compressions_are_left_to_openslide(tmp_path, caplog):
    path = tmp_path / "slide.tiff"
    tifffile.imwrite(
        path, PICTURE, tile=(256, 256), compression="adobe_deflate", photometric="rgb", metadata=None
    )
    assert "its compression is number 8" in refused(path, caplog)


def test_two_pictures_of_one_size_are_left_to_openslide(tmp_path, caplog):
    path = write_slide(tmp_path / "slide.tiff", PICTURE, JpegKind(factors=(1,)))
    with tifffile.TiffWriter(path, append=True) as tiff:
        write_level(
            tiff,
            [encoded(np.zeros((256, 256, 3), np.uint8), JpegKind())] * 15,
            (HEIGHT, WIDTH),
            JpegKind(),
            1,
        )
    assert "2 of its tiled pictures have the size" in refused(path, caplog)


def test_other_pixels_than_openslides_are_left_to_openslide(tmp_path, caplog):
    """A JFIF marker in an RGB slide makes us, and not OpenSlide, take a tile for YCbCr. The last tile is looked at."""
    path = write_slide(tmp_path / "rgb.tiff", PICTURE, JpegKind(128, "RGB", "444"))
    pink = encoded(np.full((128, 128, 3), (200, 100, 150), np.uint8), JpegKind(colour="RGB", sampling="444"))
    stream = SOI + JFIF + pink[len(SOI) :]
    replace_tile(path, tile=53, change=lambda data: stream + bytes(len(data) - len(stream)))
    assert "sees other pixels in tile 5, 8 of level 0" in refused(path, caplog)


def test_a_tile_that_neither_can_read_does_not_decide_the_reader(slide_file):
    replace_tile(slide_file, tile=53, change=lambda data: bytes(len(data)))
    with open_slide(slide_file) as slide:
        assert slide.info.reader == "jpeg-tiff"


@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "openslide_small.svs"])
def test_real_slides_agree_with_openslide(data_dir, name):
    path = data_dir / "slides" / name
    with open_slide(path) as fast, open_slide(path, reader="openslide") as slow:
        plane, own = fast.info.plane, fast.info.known_mpp
        ours, theirs = (slide.read(plane, own).rgb.astype(int) for slide in (fast, slow))
        half, mean = (slide.read(plane, own.scaled(2, 2)).rgb.astype(int) for slide in (fast, slow))
    assert fast.info.reader == "jpeg-tiff"
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(half, mean)


def test_jpeg_2000_is_left_to_openslide(data_dir, caplog):
    path = data_dir / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    assert "its compression is number 33005" in refused(path, caplog)
    needed = [Box(1000, 900, 300, 500)]
    with open_slide(path, HALF) as slide:  # level 1 has a downsample of 2.0005: OpenSlide interpolates
        plain, region = (
            slide.read(Box(600, 600, 1200, 1200), Mpp(1.0, 1.0), boxes) for boxes in (None, needed)
        )
    np.testing.assert_array_equal(region.rgb[150:400, 200:350], plain.rgb[150:400, 200:350])
    assert region.decoded_l0 < plain.decoded_l0 / 2


def same_tiles(path: Path, kind: JpegKind, side_l0: int) -> Path:
    """A slide whose tiles are all alike, which takes no time to write."""
    stream = encoded(tissue_like(kind.tile, kind.tile), kind)
    with tifffile.TiffWriter(path) as tiff:
        for factor in kind.factors:
            side = side_l0 // factor
            write_level(tiff, [stream] * (-(-side // kind.tile)) ** 2, (side, side), kind, factor)
    return path


@pytest.mark.parametrize(
    ("kind", "limit"),
    [(JpegKind(256, factors=(1, 2, 8)), 1.3), (JpegKind(240, factors=(1, 4)), 1.6)],
    ids=["0.25, 0.5 and 2 um, 256 px", "0.25 and 1 um, 240 px"],
)
def test_little_is_decoded_that_is_not_needed(tmp_path, kind, limit):
    """A round piece of tissue of 2.5 mm, in tiles of 224 px at 1 um and blocks of 8 x 8."""
    path = same_tiles(tmp_path / "slide.tiff", kind, 10_240)
    decoded = needed = 0
    with open_slide(path, L0) as slide:
        grid = TileGrid(slide.info.plane, (4.0, 4.0), Mpp(1.0, 1.0), 224, 224, 8)
        rows, cols = np.indices(grid.shape)
        tissue = np.hypot((rows + 0.5) * 896 / 5120 - 1, (cols + 0.5) * 896 / 5120 - 1) < 0.95
        for block in grid.blocks():
            batch = read_block(slide, grid, block, tissue[block.cells])
            decoded, needed = decoded + batch.decoded_l0, needed + batch.needed_l0
            assert batch.readable.all()
    assert tissue.sum() > 80
    assert needed <= decoded <= limit * needed
