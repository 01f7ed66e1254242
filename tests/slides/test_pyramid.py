from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from wsi_necrosis.errors import ReadError, SlideError
from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.pyramid import Pyramid
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.slides.stored_levels import level_for, nominal_downsample, on_white
from wsi_necrosis.slides.window import Window

TILE = (16, 8)


class ArrayLevels:
    """Levels in memory; a read of a bad stored tile fails, and so does every later one on the object."""

    def __init__(self, arrays: list[np.ndarray], bad: Iterable[tuple[int, int]] = ()) -> None:
        self.arrays, self.bad = arrays, frozenset(bad)
        self.sizes = tuple((array.shape[1], array.shape[0]) for array in arrays)
        self.downsamples = tuple(arrays[0].shape[1] / array.shape[1] for array in arrays)
        self.tiles = (TILE,) * len(arrays)
        self.stored, self.is_sparse = len(arrays), False
        self.failed = False
        self.opened: list[ArrayLevels] = []
        self.windows: list[tuple[int, Window]] = []

    def fetch(self, level: int, window: Window, out: np.ndarray) -> int | None:
        assert window.clipped(self.sizes[level]) == window, "asked for pixels outside the level"
        self.windows.append((level, window))
        left, top, width, height = window
        touched = any(
            left < (col + 1) * TILE[0] and left + width > col * TILE[0]
            and top < (row + 1) * TILE[1] and top + height > row * TILE[1]
            for col, row in self.bad
        )  # fmt: skip
        self.failed |= touched
        out[:] = 0 if self.failed else self.arrays[level][top : top + height, left : left + width]
        return None if self.failed else window.count_tiles(TILE)

    def reopened(self) -> ArrayLevels:
        again = type(self)(self.arrays, self.bad)
        again.opened = self.opened
        self.opened.append(again)
        return again

    def close(self) -> None:
        self.failed = True


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def mean_by_coverage(
    pixels: np.ndarray, start: tuple[float, float], ratio: tuple[float, float], shape: tuple[int, int]
) -> np.ndarray:
    """The same by a slow loop: every level pixel counts by the share of it under the wanted pixel."""
    out = np.zeros((*shape, 3))
    for row, col in np.ndindex(shape):
        left, top = start[0] + col * ratio[0], start[1] + row * ratio[1]
        right, bottom = left + ratio[0], top + ratio[1]
        for y in range(math.floor(top), math.ceil(bottom)):
            for x in range(math.floor(left), math.ceil(right)):
                share = (min(x + 1, right) - max(x, left)) * (min(y + 1, bottom) - max(y, top))
                inside = 0 <= y < pixels.shape[0] and 0 <= x < pixels.shape[1]
                out[row, col] += max(0, share) * (pixels[y, x] if inside else 255)
    return out / (ratio[0] * ratio[1])


def test_whole_ratio_is_the_mean_of_whole_pixels():
    pixels = noise(32, 48)
    region = Pyramid(ArrayLevels([pixels])).read(Box(6, 4, 24, 16), (2, 4), (4, 12))
    expected = pixels[4:20, 6:30].reshape(4, 4, 12, 2, 3).mean((1, 3))
    np.testing.assert_allclose(region.rgb, expected, atol=0.5 + 1e-6)
    assert region.unreadable == ()


def test_native_pixels_come_back_unchanged():
    pixels = noise(32, 48)
    region = Pyramid(ArrayLevels([pixels])).read(Box(5, 3, 20, 10), (1, 1), (10, 20))
    np.testing.assert_array_equal(region.rgb, pixels[3:13, 5:25])


def test_whole_ratio_starts_at_the_nearest_whole_pixel():
    pixels = noise(32, 48)
    shifted = [
        Pyramid(ArrayLevels([pixels])).read(Box(x, 0, 8, 8), (1, 1), (8, 8)).rgb for x in (3.6, 4.4, 4.5)
    ]
    for rgb, left in zip(shifted, (4, 4, 5), strict=True):
        np.testing.assert_array_equal(rgb, pixels[:8, left : left + 8])


@given(
    ratio=st.tuples(st.floats(1.01, 5), st.floats(1.01, 5)),
    start=st.tuples(st.floats(-9, 30), st.floats(-9, 30)),
)
def test_fractional_ratio_weighs_by_coverage(ratio, start):
    pixels = noise(40, 40)
    shape = (5, 70)  # more columns than pixels, so that the drift of the ratio shows
    region = Pyramid(ArrayLevels([pixels])).read(Box(*start, 70 * ratio[0], 5 * ratio[1]), ratio, shape)
    expected = mean_by_coverage(pixels, start, ratio, shape)
    whole = [abs(length - round(length)) * count < 0.05 for length, count in zip(ratio, (70, 5), strict=True)]
    if not any(whole):  # whole ratios snap to pixels by design
        np.testing.assert_allclose(region.rgb, expected, atol=0.51)


def test_bands_join_without_a_seam():
    pixels = noise(600, 30)
    region = Pyramid(ArrayLevels([pixels])).read(Box(0, 0.25, 20, 550), (1.5, 2.2), (250, 13))
    expected = mean_by_coverage(pixels, (0, 0.25), (1.5, 2.2), (250, 13))
    np.testing.assert_allclose(region.rgb, expected, atol=0.51)


def test_outside_is_white():
    pixels = np.zeros((32, 48, 3), np.uint8)
    pyramid = Pyramid(ArrayLevels([pixels]))
    region = pyramid.read(Box(-8, -4, 64, 40), (2, 2), (20, 32))
    assert (region.rgb[2:18, 4:28] == 0).all()
    assert region.rgb.sum(dtype=int) == 255 * 3 * (20 * 32 - 16 * 24)
    assert (pyramid.read(Box(100, 100, 8, 8), (1, 1), (8, 8)).rgb == 255).all()


@pytest.mark.parametrize(
    ("px_l0", "level"),
    [((1, 1), 0), ((1.9, 1.9), 0), ((1.999, 2), 1), ((2, 4), 1), ((4, 2), 1), ((9, 9), 2), ((0.5, 0.5), 0)],
)
def test_coarsest_level_that_is_fine_enough(px_l0, level):
    assert level_for((1.0, 2.0, 4.0), px_l0) == level


def test_reads_only_the_chosen_level():
    levels = ArrayLevels([np.full((64 >> k, 64 >> k, 3), 10 * k, np.uint8) for k in range(3)])
    region = Pyramid(levels).read(Box(0, 0, 64, 64), (4, 4), (16, 16))
    assert (region.rgb == 20).all()
    assert levels.windows == [(2, Window(0, 0, 16, 16))]


@pytest.mark.parametrize(
    ("size", "stated", "nominal"),
    [
        ((2221, 1783), 2.0005, 2.0),
        ((75, 62), 4.016, 4.0),
        ((1111, 892), 3.999, 4.0),
        ((1110, 891), 4.003, 4.0),
        ((1800, 1400), 2.508, 2.508),
    ],
)
def test_nominal_downsample(size, stated, nominal):
    full = (300, 250) if size == (75, 62) else (4443, 3567)
    assert nominal_downsample(full, size, stated) == nominal


def test_only_the_bad_tile_is_lost():
    pixels = noise(64, 96)
    region = Pyramid(ArrayLevels([pixels], bad=[(2, 3), (5, 0)])).read(Box(0, 0, 96, 64), (1, 1), (64, 96))
    assert set(region.unreadable) == {Box(32, 24, 16, 8), Box(80, 0, 16, 8)}
    expected = pixels.copy()
    expected[24:32, 32:48] = 255
    expected[0:8, 80:96] = 255
    np.testing.assert_array_equal(region.rgb, expected)


def test_lost_boxes_are_in_level_0_and_inside_the_request():
    levels = ArrayLevels([noise(128, 192), noise(64, 96)], bad=[(2, 3)])
    region = Pyramid(levels).read(Box(70, 40, 100, 80), (2, 2), (40, 50))
    assert region.unreadable == (Box(70, 48, 26, 16),)


def test_a_failed_read_does_not_spoil_the_next():
    pixels = noise(64, 96)
    pyramid = Pyramid(ArrayLevels([pixels], bad=[(0, 0)]))
    assert pyramid.read(Box(0, 0, 96, 64), (1, 1), (64, 96)).unreadable
    good = pyramid.read(Box(16, 8, 80, 56), (1, 1), (56, 80))
    assert good.unreadable == ()
    np.testing.assert_array_equal(good.rgb, pixels[8:, 16:])


def test_threads_that_share_a_failing_pyramid_lose_only_the_bad_tile():
    pixels = noise(64, 96)
    pyramid = Pyramid(ArrayLevels([pixels], bad=[(2, 3)]))
    boxes = [Box(x, y, 32, 16) for x in (0, 32, 64) for y in (0, 16, 32, 48)] * 10
    with ThreadPoolExecutor(8) as pool:
        regions = list(pool.map(lambda box: pyramid.read(box, (1, 1), (16, 32)), boxes))
    for box, region in zip(boxes, regions, strict=True):
        holds_bad = box == Box(32, 16, 32, 16)
        assert region.unreadable == ((Box(32, 24, 16, 8),) if holds_bad else ())
        if not holds_bad:
            x, y = int(box.x_l0), int(box.y_l0)
            np.testing.assert_array_equal(region.rgb, pixels[y : y + 16, x : x + 32])


class FailingLevels(ArrayLevels):
    """Fetches a tile only once it has failed at it so often, as when the system fails for a moment."""

    times = 1

    def fetch(self, level: int, window: Window, out: np.ndarray) -> int | None:
        if super().fetch(level, window, out) is not None:
            return window.count_tiles(TILE)
        single = window.count_tiles(TILE) == 1
        type(self).times -= single
        if single and self.times < 0:
            out[:] = self.arrays[level][window.top :][: window.height, window.left : window.right]
            return 1
        return None


def test_a_tile_that_can_be_read_at_the_second_try_is_not_lost():
    pixels = noise(64, 96)
    region = Pyramid(FailingLevels([pixels], bad=[(2, 3)])).read(Box(0, 0, 96, 64), (1, 1), (64, 96))
    assert region.unreadable == ()
    np.testing.assert_array_equal(region.rgb, pixels)


def test_files_are_asked_before_a_tile_counts_as_damaged(tmp_path):
    file = tmp_path / "slide"
    file.write_bytes(b"slide")
    pixels = noise(64, 96)
    pyramid = Pyramid(ArrayLevels([pixels], bad=[(2, 3)]), SourceFiles.of([file]))
    whole = Box(0, 0, 96, 64), (1, 1), (64, 96)
    assert pyramid.read(*whole).unreadable == (Box(32, 24, 16, 8),)
    file.write_bytes(b"sli")
    with pytest.raises(ReadError, match="was cut from 5 to 3 bytes"):
        pyramid.read(*whole)
    assert pyramid.read(Box(0, 0, 32, 16), (1, 1), (16, 32)).unreadable == ()


def test_a_file_that_cannot_be_opened_again_is_a_read_error():
    class Gone(ArrayLevels):
        def reopened(self) -> ArrayLevels:
            raise SlideError("the file does not exist")

    with pytest.raises(ReadError, match=r"opened again \(the file does not exist"):
        Pyramid(Gone([noise(64, 96)], bad=[(2, 3)])).read(Box(0, 0, 96, 64), (1, 1), (64, 96))


def test_transparent_pixels_lie_on_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 128, 255)
    np.testing.assert_array_equal(np.asarray(on_white(Image.fromarray(rgba)))[0, :, 0], [255, 127, 0])


def test_closing_twice_does_no_harm():
    pyramid = Pyramid(ArrayLevels([noise(8, 8)]))
    pyramid.close()
    pyramid.close()


def test_closing_waits_for_readers_and_refuses_later_ones():
    inside, go_on, closed = Event(), Event(), Event()

    class SlowLevels(ArrayLevels):
        def fetch(self, level: int, window: Window, out: np.ndarray) -> int | None:
            inside.set()
            assert go_on.wait(10)
            assert not closed.is_set()
            return super().fetch(level, window, out)

        def close(self) -> None:
            closed.set()

    pyramid = Pyramid(SlowLevels([noise(8, 8)]))
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(pyramid.read, Box(0, 0, 8, 8), (1, 1), (8, 8))
        assert inside.wait(10)
        closing = pool.submit(pyramid.close)
        assert not closed.wait(0.2)
        go_on.set()
        assert reading.result(10).rgb.shape == (8, 8, 3)
        closing.result(10)
    assert closed.is_set()
    with pytest.raises(SlideError, match="closed"):
        pyramid.read(Box(0, 0, 8, 8), (1, 1), (8, 8))


BOXES = st.builds(
    Box,
    st.integers(-20, 100),
    st.integers(-20, 70),
    st.integers(1, 60).map(float),
    st.integers(1, 60).map(float),
)


@given(
    needed=st.lists(BOXES, max_size=4),
    ratio=st.sampled_from([(1, 1), (2, 2), (1.3, 2.1), (3, 2)]),
    corner=st.tuples(st.floats(-9, 30), st.floats(-9, 30)),
)
def test_needed_pixels_are_those_of_a_plain_read(needed, ratio, corner):
    levels = ArrayLevels([noise(64, 96)])
    shape = (40, 50)
    box = Box(*corner, 50 * ratio[0], 40 * ratio[1])
    plain, region = (Pyramid(levels).read(box, ratio, shape, boxes) for boxes in (None, needed))
    for part in needed:
        left, right = ((edge - box.x_l0) / ratio[0] for edge in (part.x_l0, part.right_l0))
        top, bottom = ((edge - box.y_l0) / ratio[1] for edge in (part.y_l0, part.bottom_l0))
        inside = tuple(
            slice(max(0, math.floor(start + 1e-6)), max(0, math.ceil(stop - 1e-6)))
            for start, stop in ((top, bottom), (left, right))
        )
        np.testing.assert_array_equal(region.rgb[inside], plain.rgb[inside])
    assert region.decoded_l0 <= plain.decoded_l0


def test_only_tiles_that_are_needed_are_fetched():
    levels = ArrayLevels([noise(64, 96)])
    needed = [Box(18, 9, 10, 5), Box(30, 9, 4, 5), Box(80, 40, 16, 1)]  # tiles 1, 1 and 2, 1; and 5, 5
    region = Pyramid(levels).read(Box(0, 0, 96, 64), (1, 1), (64, 96), needed)
    assert sorted(window for _, window in levels.windows) == [Window(16, 8, 32, 8), Window(80, 40, 16, 8)]
    assert region.decoded_l0 == 3 * 16 * 8
    expected = np.full_like(levels.arrays[0], 255)
    for rows, cols in ((slice(8, 16), slice(16, 48)), (slice(40, 48), slice(80, 96))):
        expected[rows, cols] = levels.arrays[0][rows, cols]
    np.testing.assert_array_equal(region.rgb, expected)


def test_what_is_decoded_is_counted_in_level_0_pixels_and_whole_tiles():
    levels = ArrayLevels([noise(128, 192), noise(64, 96)])
    assert Pyramid(levels).read(Box(30, 14, 4, 4), (2, 2), (2, 2)).decoded_l0 == 4 * (32 * 16)
    bad = Pyramid(ArrayLevels([noise(64, 96)], bad=[(0, 0)])).read(Box(0, 0, 32, 8), (1, 1), (8, 32))
    assert bad.unreadable == (Box(0, 0, 16, 8),)
    assert bad.decoded_l0 == 16 * 8


class Between(ArrayLevels):
    """One stored level, and means of squares of its pixels."""

    def __init__(self, pixels: np.ndarray, sides: tuple[int, ...]) -> None:
        super().__init__([pixels, *(np.asarray(Image.fromarray(pixels).reduce(side)) for side in sides)])
        self.stored, self.is_sparse = 1, False


@pytest.mark.parametrize(
    ("px_l0", "corner", "level"),
    [
        ((4, 4), (0, 0), 2),
        ((4, 4), (-8, 16), 2),
        ((4, 4), (0, 2), 0),
        ((4, 4), (2, 0), 0),
        ((2, 2), (2, 2), 1),
        ((6, 6), (0, 0), 0),
        ((2, 4), (0, 0), 0),
        ((1, 1), (0, 0), 0),
        ((4.1, 4.1), (0, 0), 0),
    ],
)
def test_means_serve_where_they_are_the_wanted_pixels(px_l0, corner, level):
    levels = Between(noise(128, 128), (2, 4))
    Pyramid(levels).read(Box(*corner, 64, 64), px_l0, (8, 8))
    assert {index for index, _ in levels.windows} == {level}


@given(
    side=st.sampled_from([2, 4, 8, 16]), excess=st.sampled_from([0, 0, 1e-5, 4e-4, 0.004]),
    corner=st.tuples(st.integers(-20, 40), st.integers(-20, 40)), part=st.sampled_from([0, 0, 0.04, 0.3, 0.7]),
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)  # fmt: skip
def test_what_is_read_does_not_depend_on_levels_between(side, excess, corner, part, shape):
    pixels, px_l0 = noise(144, 160), (side + excess, side + excess)
    box = Box(corner[0] + part, corner[1] + part, shape[1] * px_l0[0], shape[0] * px_l0[1])
    found, plain = (
        Pyramid(levels).read(box, px_l0, shape).rgb
        for levels in (Between(pixels, (2, 4, 8, 16)), ArrayLevels([pixels]))
    )
    np.testing.assert_array_equal(found, plain)


def test_failed_levels_are_closed_when_their_last_reader_leaves():
    first = ArrayLevels([noise(64, 96)], bad=[(2, 3)])
    pyramid = Pyramid(first)
    for _ in range(20):
        pyramid.read(Box(0, 0, 96, 64), (1, 1), (64, 96))
    still_open = [levels for levels in (first, *first.opened) if not levels.failed]
    assert len(first.opened) > 20
    assert len(still_open) == 1
    pyramid.close()
    assert still_open[0].failed
