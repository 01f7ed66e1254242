from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.helpers.odd_slides import JPEG, OME, smaller, textured
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.holes import holes, level_0_stores, next_finer
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.pyramid import Pyramid
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.stored_levels import Levels
from wsi_necrosis.slides.window import Window

SIDE, TILE = 768, 64
HOLE_L0 = Box(0, 256, 256, 256)  # what the coarser levels lack
BARE_L0 = Box(512, 0, 256, 256)  # what no level stores


def tiles_of(pixels: np.ndarray, scale: int, lacks: list[Box]) -> list[np.ndarray | None]:
    """Tiles row by row; None for those in boxes of level 0."""
    found: list[np.ndarray | None] = []
    for top in range(0, len(pixels), TILE):
        for left in range(0, len(pixels), TILE):
            inside = any(
                box.x_l0 <= left * scale < box.right_l0 and box.y_l0 <= top * scale < box.bottom_l0
                for box in lacks
            )
            found.append(None if inside else pixels[top : top + TILE, left : left + TILE])
    return found


def write_with_holes(path: Path, holes_at: dict[int, list[Box]], **options: object) -> Path:
    """Levels of 1, 2 and 4, each of which lacks the tiles in some boxes."""
    picture = textured(SIDE, SIDE)
    kinds = JPEG | options
    with tifffile.TiffWriter(path, ome=bool(options.get("ome"))) as tiff:
        kinds.pop("ome", None)
        for scale in (1, 2, 4):
            pixels = smaller(picture, scale)
            um = 0.5 * scale
            ome = {"metadata": OME, "subifds": 2 if scale == 1 else None} if "ome" in options else {}
            tiff.write(
                iter(tiles_of(pixels, scale, [BARE_L0, *holes_at.get(scale, [])])),
                shape=pixels.shape,
                dtype=np.uint8,
                resolution=(1e4 / um, 1e4 / um),
                resolutionunit="CENTIMETER",
                subfiletype=int(scale > 1),
                **(kinds | ome),
            )
    return path


@pytest.mark.parametrize(
    ("name", "options", "reader"),
    [
        ("a.tiff", {}, "jpeg-tiff"),
        ("a.tiff", {"compression": "deflate"}, "tifffile"),
        ("a.ome.tiff", {"ome": True}, "tifffile"),
    ],
)
@pytest.mark.parametrize("lacking", [(4,), (2, 4)])
def test_level_0_decides_what_is_not_scanned(
    tmp_path: Path, name: str, options: dict[str, object], reader: str, lacking: tuple[int, ...]
) -> None:
    holed, whole = (
        write_with_holes(folder / name, at, **options)
        for folder, at in (
            (tmp_path / "holed", {scale: [HOLE_L0] for scale in lacking}),
            (tmp_path / "whole", {}),
        )
        if folder.mkdir() is None
    )
    with open_slide(holed) as slide, open_slide(whole) as other:
        assert slide.info.reader == other.info.reader == reader
        assert not slide.info.warnings
        for um in (2.0, 3.0):
            found, right = read_overview(slide, um), read_overview(other, um)
            assert right.not_scanned is not None
            np.testing.assert_array_equal(found.not_scanned, right.not_scanned)
            assert right.not_scanned.mean() == pytest.approx(1 / 9, abs=0.005)
            assert np.abs(found.rgb.astype(int) - right.rgb).mean() < 1
        part = slide.read(HOLE_L0, Mpp(2.0, 2.0))
        assert part.absent is None
        assert part.rgb.std() > 10


def test_a_coarser_level_shows_nothing_of_what_level_0_lacks(tmp_path: Path) -> None:
    """White, as everywhere else that is not stored."""
    with open_slide(write_with_holes(tmp_path / "a.tiff", {1: [HOLE_L0]})) as slide:
        part = slide.read(HOLE_L0, Mpp(2.0, 2.0))
    assert part.absent.all()
    assert (part.rgb == 255).all()


class Holed(Levels):
    """Levels in memory, which lack what is set; they count the pixels that are asked for at level 0."""

    is_sparse = True

    def __init__(
        self, arrays: list[np.ndarray], lacks: list[np.ndarray], damaged: Window | None = None
    ) -> None:
        self.arrays, self.lacks, self.damaged = arrays, lacks, damaged
        self.sizes = tuple((array.shape[1], array.shape[0]) for array in arrays)
        self.downsamples = tuple(arrays[0].shape[1] / array.shape[1] for array in arrays)
        self.tiles, self.stored = ((16, 16),) * len(arrays), len(arrays)
        self.asked_px = 0

    def fetch(
        self, level: int, window: Window, out: np.ndarray, absent: np.ndarray | None = None
    ) -> int | None:
        if level == 0:
            self.asked_px += window.width * window.height
            if self.damaged and self.damaged.intersection(window):
                return None
        at = window.within(Window(0, 0, *self.sizes[level]))
        out[:] = self.arrays[level][at]
        if absent is not None:
            absent |= self.lacks[level][at]
        return window.count_tiles((16, 16))

    def reopened(self) -> Holed:
        return self

    def close(self) -> None:
        pass


def holed(hole: slice, bare: slice, damaged: Window | None = None) -> Holed:
    """Level 1 lacks its rows and columns `hole`, and level 0 four times those of `bare`."""
    picture = textured(256, 256)
    lacks = [np.zeros((256, 256), bool), np.zeros((64, 64), bool)]
    lacks[1][hole, hole] = True
    lacks[0][4 * bare.start : 4 * bare.stop, 4 * bare.start : 4 * bare.stop] = True
    return Holed([picture, smaller(picture, 4)], lacks, damaged)


def test_what_is_sparse_at_level_0_is_not_read_there() -> None:
    levels = holed(slice(16, 48), slice(16, 48))
    found = Pyramid(levels).read(Box(0, 0, 256, 256), (4, 4), (64, 64))
    assert found.absent.sum() == 32**2
    assert levels.asked_px == (32 * 4 // 16) ** 2  # one pixel of every tile


def test_what_cannot_be_decoded_under_a_hole_is_unreadable() -> None:
    levels = holed(slice(16, 32), slice(0, 0), damaged=Window(64, 64, 16, 16))
    found = Pyramid(levels).read(Box(0, 0, 256, 256), (4, 4), (64, 64))
    assert found.absent is None
    assert found.unreadable == (Box(64, 64, 64, 64),)


def test_pixels_do_not_depend_on_the_window() -> None:
    levels = holed(slice(16, 48), slice(32, 48))
    whole = Pyramid(levels).read(Box(0, 0, 256, 256), (4, 4), (64, 64))
    np.testing.assert_array_equal(whole.rgb[16:32, 16:32], levels.arrays[1][16:32, 16:32])
    for left in (60, 100, 128):
        part = Pyramid(levels).read(Box(left, 100, 60, 60), (4, 4), (15, 15))
        at = slice(25, 40), slice(left // 4, left // 4 + 15)
        np.testing.assert_array_equal(part.rgb, whole.rgb[at])
        lacks = np.zeros((15, 15), bool) if part.absent is None else part.absent
        np.testing.assert_array_equal(lacks, whole.absent[at])


def test_the_next_finer_level() -> None:
    levels = holed(slice(0, 16), slice(0, 0))
    assert next_finer(levels, 1) == 0
    assert next_finer(levels, 0) is None
    window = Window(0, 0, 64, 64)
    assert list(holes(levels, 1, window, levels.lacks[1])) == [Window(0, 0, 16, 16)]
    assert list(holes(levels, 0, Window(0, 0, 256, 256), levels.lacks[0])) == []
    assert level_0_stores(levels, 1, Window(0, 0, 16, 16), levels.lacks[1][:16, :16])


class Fragile(Holed):
    """Fails for ever after the first failure, as OpenSlide does, until it is opened again."""

    failed, opened = False, 0

    def fetch(
        self, level: int, window: Window, out: np.ndarray, absent: np.ndarray | None = None
    ) -> int | None:
        count = None if self.failed else super().fetch(level, window, out, absent)
        self.failed |= count is None
        return count

    def reopened(self) -> Fragile:
        Fragile.opened += 1
        return Fragile(self.arrays, self.lacks, self.damaged)


def test_a_damaged_tile_costs_nothing_elsewhere() -> None:
    """Levels that have failed are not asked about holes, nor read in place of them."""
    plain = holed(slice(0, 64), slice(16, 64), damaged=Window(0, 0, 16, 16))
    levels = Fragile(plain.arrays, plain.lacks, plain.damaged)
    Fragile.opened = 0
    found = Pyramid(levels).read(Box(0, 0, 256, 256), (4, 4), (64, 64))
    assert found.unreadable == (Box(0, 0, 64, 64),)
    assert found.absent.sum() == 48**2
    assert Fragile.opened < 30
