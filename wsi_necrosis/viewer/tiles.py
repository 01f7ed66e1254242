"""A slide as JPEG tiles of several levels, as a viewer asks for them.

Stored JPEG tiles are given as they are; what is stored otherwise, and levels that a file lacks, are cut and encoded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.errors import UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.overview import Overview
from wsi_necrosis.slides.slide import Slide

CUT_PX = 512  # side of tiles that are cut
LARGEST_PX = 1024  # side of stored tiles that are given as they are
STEP = 4.0  # factor between levels: where stored ones are farther apart, levels are added
SLACK = 1.2  # by which stored levels may be farther apart
COARSEST_PX = 2048  # most pixels on the longer side of the coarsest level
QUALITY = 85  # of JPEG
Size = tuple[int, int]


@dataclass(frozen=True)
class ShownLevel:
    """A level that a viewer sees.

    Attributes
    ----------
    downsample : float
        Level-0 pixels per pixel.
    size, tile : tuple of int
        Width and height of the level and of its tiles.
    stored : int or None
        Index of the slide's level whose JPEG tiles these are; None where tiles are cut.
    """

    downsample: float
    size: Size
    tile: Size
    stored: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return math.ceil(self.size[1] / self.tile[1]), math.ceil(self.size[0] / self.tile[0])

    def box(self, row: int, col: int) -> tuple[Box, tuple[int, int]]:
        """What a tile shows inside the level: in level-0 pixels, and as rows and columns of its own.

        Raises
        ------
        UsageError
            There is no such tile.
        """
        rows, cols = self.shape
        if not (0 <= row < rows and 0 <= col < cols):
            raise UsageError(f"there is no tile {row}, {col}; this level has {rows} x {cols} tiles")
        left, top = col * self.tile[0], row * self.tile[1]
        width, height = min(self.tile[0], self.size[0] - left), min(self.tile[1], self.size[1] - top)
        scale = self.downsample
        return Box(left * scale, top * scale, width * scale, height * scale), (height, width)


def levels_of(slide: Slide) -> tuple[ShownLevel, ...]:
    """The levels of a slide as they are shown, finest first: the stored ones, and others where these are far apart."""
    info = slide.info
    found: list[ShownLevel] = []
    for at, (downsample, size, jpeg) in enumerate(
        zip(info.downsamples, info.levels, slide.jpeg_tiles, strict=True)
    ):
        if found:
            found += _between(found[-1], downsample, info.size_l0)
        as_stored = jpeg is not None and max(jpeg) <= LARGEST_PX
        found.append(
            ShownLevel(
                downsample, size, jpeg if jpeg and as_stored else (CUT_PX, CUT_PX), at if as_stored else None
            )
        )
    return (*found, *_below(found[-1], info.size_l0))


def _between(finer: ShownLevel, coarser: float, size_l0: Size) -> Iterator[ShownLevel]:
    downsample = finer.downsample
    while coarser / downsample > STEP * SLACK:
        downsample *= STEP
        yield _cut_level(downsample, size_l0)


def _below(coarsest: ShownLevel, size_l0: Size) -> Iterator[ShownLevel]:
    while max(coarsest.size) > COARSEST_PX:
        coarsest = _cut_level(coarsest.downsample * STEP, size_l0)
        yield coarsest


def _cut_level(downsample: float, size_l0: Size) -> ShownLevel:
    width, height = (max(1, math.ceil(side / downsample)) for side in size_l0)
    return ShownLevel(downsample, (width, height), (CUT_PX, CUT_PX))


class SlideTiles:
    """Tiles of an open slide; may be shared by threads.

    Parameters
    ----------
    slide : Slide
        Its pixel size must be known. It is closed with these.
    overview : callable
        Gives the overview of its plane; called for levels much coarser than any stored one.
    """

    def __init__(self, slide: Slide, overview: Callable[[], Overview]) -> None:
        self._slide, self._read_overview = slide, overview
        self.levels = levels_of(slide)

    @cached_property
    def _overview(self) -> Overview:
        return self._read_overview()

    def tile(self, level: int, row: int, col: int) -> bytes:
        """A tile as JPEG; one at the edge may be larger than its part of the level.

        Raises
        ------
        UsageError
            There is no such tile.
        SlideError
            The slide cannot be read, is gone, or has changed since it was opened.
        """
        shown = level_at(self.levels, level)
        box, shape = shown.box(row, col)
        self._slide.require_unchanged()
        if shown.stored is not None:
            stored = self._slide.jpeg_tile(shown.stored, row, col)
            if stored is not None:
                return stored
        if self._is_far(shown) and shown.downsample >= max(self._overview.px_l0):
            return encoded(from_overview(self._overview, box, shape))
        own = self._slide.info.known_mpp
        return encoded(self._slide.read(box, Mpp(own.x * shown.downsample, own.y * shown.downsample)).rgb)

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()

    def _is_far(self, shown: ShownLevel) -> bool:
        """Whether so many stored pixels make one of a level that the overview, read before, takes their place."""
        finer = max(each for each in self._slide.info.downsamples if each <= shown.downsample)
        return shown.downsample / finer > STEP * SLACK


class OverviewTiles:
    """Tiles of a slide of which only the overview is there; may be shared by threads."""

    def __init__(self, overview: Overview, size_l0: Size) -> None:
        self._overview = overview
        finest = _cut_level(float(min(overview.px_l0)), size_l0)
        self.levels: tuple[ShownLevel, ...] = (finest, *_below(finest, size_l0))

    def tile(self, level: int, row: int, col: int) -> bytes:
        """A tile as JPEG; raises UsageError where there is none."""
        box, shape = level_at(self.levels, level).box(row, col)
        return encoded(from_overview(self._overview, box, shape))

    def close(self) -> None:
        """Nothing is open."""


def level_at(levels: tuple[ShownLevel, ...], level: int) -> ShownLevel:
    """The level of a number; raises UsageError where there is none."""
    if not 0 <= level < len(levels):
        raise UsageError(f"there is no level {level}; this slide has {len(levels)}")
    return levels[level]


def from_overview(overview: Overview, box: Box, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels of a box in `shape` rows and columns, uint8 (height, width, 3); white outside the overview's plane."""
    canvas = np.full((*shape, 3), 255, np.uint8)
    inside = box.intersection(overview.plane)
    if inside is None:
        return canvas
    x, y = shape[1] / box.width_l0, shape[0] / box.height_l0
    left, right = round((inside.x_l0 - box.x_l0) * x), round((inside.right_l0 - box.x_l0) * x)
    top, bottom = round((inside.y_l0 - box.y_l0) * y), round((inside.bottom_l0 - box.y_l0) * y)
    if right <= left or bottom <= top:
        return canvas
    (px_x, px_y), (rows, cols) = overview.px_l0, overview.rgb.shape[:2]
    source = (
        (inside.x_l0 - overview.plane.x_l0) / px_x,
        (inside.y_l0 - overview.plane.y_l0) / px_y,
        min(cols, (inside.right_l0 - overview.plane.x_l0) / px_x),
        min(rows, (inside.bottom_l0 - overview.plane.y_l0) / px_y),
    )
    part, source = _part(overview.rgb, source)
    picture = Image.fromarray(part).resize((right - left, bottom - top), Image.Resampling.BOX, source)
    canvas[top:bottom, left:right] = np.asarray(picture)
    return canvas


def _part(
    rgb: NDArray[np.uint8], box: tuple[float, float, float, float]
) -> tuple[NDArray[np.uint8], tuple[float, float, float, float]]:
    """The pixels under a box, and the box in them: a picture is copied whole before it is cut."""
    left, top = int(box[0]), int(box[1])
    part = np.ascontiguousarray(rgb[top : math.ceil(box[3]), left : math.ceil(box[2])])
    return part, (box[0] - left, box[1] - top, box[2] - left, box[3] - top)


def encoded(rgb: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 3) as JPEG."""
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(rgb), quality=QUALITY)
    return jpeg
