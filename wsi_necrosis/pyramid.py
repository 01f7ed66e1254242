"""The stored levels of a slide, and how pixels of any size are averaged from them.

A working pixel is the mean of the level pixels under it. Reads ask a level for whole pixels, so
that nothing is interpolated on the way; what cannot be decoded is found, stays white and is named.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import csr_array

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box

logger = logging.getLogger(__name__)

WHITE = (255, 255, 255)
LEVEL_TOLERANCE = 1e-3  # a level this much coarser than asked still counts as fine enough
BAND_PX = 64  # rows averaged at once, so that floats stay in the processor's cache
DRIFT_PX = 0.05  # a ratio is whole if over the whole read it strays by less than this


@dataclass(frozen=True)
class Region:
    """What a read gives.

    Attributes
    ----------
    rgb : ndarray of uint8, shape (height, width, 3)
        Pixels at the size that was asked for; white outside the slide and where nothing was decoded.
    unreadable : tuple of Box
        Level-0 boxes inside the request that could not be decoded. Their white pixels are unknown,
        not glass.
    """

    rgb: NDArray[np.uint8]
    unreadable: tuple[Box, ...]


class Window(NamedTuple):
    """Whole pixels of a level."""

    left: int
    top: int
    width: int
    height: int

    def clipped(self, size: tuple[int, int]) -> Window | None:
        """Keep the part inside a level of (width, height); None if nothing is."""
        left, top = max(0, self.left), max(0, self.top)
        width = min(size[0], self.left + self.width) - left
        height = min(size[1], self.top + self.height) - top
        return Window(left, top, width, height) if width > 0 and height > 0 else None

    def by_tile(self, tile: tuple[int, int]) -> Iterator[Window]:
        """Parts of the window, one per stored tile, row by row."""
        right, bottom = self.left + self.width, self.top + self.height
        for row in range(self.top // tile[1] * tile[1], bottom, tile[1]):
            for col in range(self.left // tile[0] * tile[0], right, tile[0]):
                left, top = max(self.left, col), max(self.top, row)
                yield Window(left, top, min(right, col + tile[0]) - left, min(bottom, row + tile[1]) - top)

    def halves(self, tile: tuple[int, int]) -> tuple[Window, ...]:
        """Two parts that meet at a stored tile's edge; none if the window lies in one tile."""
        left, top, width, height = self
        first_col, first_row = left // tile[0], top // tile[1]
        cols = (left + width - 1) // tile[0] - first_col + 1
        rows = (top + height - 1) // tile[1] - first_row + 1
        if max(cols, rows) == 1:
            return ()
        if cols >= rows:
            cut = (first_col + cols // 2) * tile[0] - left
            return Window(left, top, cut, height), Window(left + cut, top, width - cut, height)
        cut = (first_row + rows // 2) * tile[1] - top
        return Window(left, top, width, cut), Window(left, top + cut, width, height - cut)


class Levels(Protocol):
    """A file's stored levels, finest first; sizes and tiles are (width, height) in level pixels."""

    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    tiles: tuple[tuple[int, int], ...]

    def fetch(self, level: int, window: Window) -> Image.Image | None:
        """Decode a window inside the level to RGB; None if a tile fails, and then perhaps for ever."""
        ...

    def reopened(self) -> Self:
        """Open the same file again."""
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class Pyramid:
    """Levels that average, and that survive a tile which cannot be decoded; may be shared by threads."""

    def __init__(self, levels: Levels) -> None:
        self._levels = levels
        self._reopening = threading.Lock()
        self._retired: list[Levels] = []  # failed, but other threads may still be inside them
        self._readers = 0
        self._closed = False
        self._traffic = threading.Condition()  # guards the two above

    def close(self) -> None:
        """Let go of the file when the reads under way have ended; closing twice does no harm."""
        with self._traffic:
            if self._closed:
                return
            self._closed = True
            self._traffic.wait_for(lambda: self._readers == 0)
        for levels in (self._levels, *self._retired):
            levels.close()

    def read(self, box: Box, px_l0: tuple[float, float], shape: tuple[int, int]) -> Region:
        """Average level pixels over a box.

        Parameters
        ----------
        box : Box
            Its top-left corner is that of the first pixel; it may overhang the slide.
        px_l0 : tuple of float
            Level-0 pixels (x, y) per wanted pixel.
        shape : tuple of int
            Rows and columns of the result.

        Notes
        -----
        Where a wanted pixel is a whole number of level pixels, these start at the nearest whole
        level pixel: a shift of at most half a level pixel, the same for neighbouring boxes.
        Elsewhere every level pixel counts by the share of it that is covered.

        Raises
        ------
        SlideError
            The slide is closed.
        """
        with self._reading():
            return self._read(box, px_l0, shape)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """Keep the file open meanwhile; OpenSlide aborts the process if it is closed under a reader."""
        with self._traffic:
            if self._closed:
                raise SlideError("the slide is closed; open it again")
            self._readers += 1
        try:
            yield
        finally:
            with self._traffic:
                self._readers -= 1
                self._traffic.notify_all()

    def _read(self, box: Box, px_l0: tuple[float, float], shape: tuple[int, int]) -> Region:
        level = level_for(self._levels.downsamples, px_l0)
        scale = self._levels.downsamples[level]
        across = _Span.along(box.x_l0 / scale, px_l0[0] / scale, shape[1])
        down = _Span.along(box.y_l0 / scale, px_l0[1] / scale, shape[0])
        window = Window(across.first, down.first, across.length, down.length)
        image, failed = self._window(level, window)
        boxes = (Box(*(scale * length for length in part)).intersection(box) for part in failed)
        return Region(_average(image, across, down), tuple(part for part in boxes if part is not None))

    def _window(self, level: int, window: Window) -> tuple[Image.Image, list[Window]]:
        inside = window.clipped(self._levels.sizes[level])
        if inside is None:
            return Image.new("RGB", window[2:], WHITE), []
        image, failed = self._fetch(level, inside)
        if inside == window:
            return image, failed
        canvas = Image.new("RGB", window[2:], WHITE)
        canvas.paste(image, (inside.left - window.left, inside.top - window.top))
        return canvas, failed

    def _fetch(self, level: int, window: Window) -> tuple[Image.Image, list[Window]]:
        levels = self._levels
        image = levels.fetch(level, window)
        if image is not None:
            return image, []
        with self._reopening:  # threads that shared the failed handle replace it once
            if self._levels is levels:
                self._retired.append(levels)
                self._levels = levels.reopened()
        return self._salvage(level, window)

    def _salvage(self, level: int, window: Window) -> tuple[Image.Image, list[Window]]:
        """Halve down to stored tiles, on a handle of its own, so that only bad tiles are lost."""
        canvas = Image.new("RGB", window[2:], WHITE)
        failed: list[Window] = []
        pending = [window]
        levels = self._levels.reopened()
        while pending:
            part = pending.pop()
            image = levels.fetch(level, part)
            if image is not None:
                canvas.paste(image, (part.left - window.left, part.top - window.top))
                continue
            levels.close()
            levels = levels.reopened()
            halves = part.halves(self._levels.tiles[level])
            pending += halves
            failed += [] if halves else [part]
        levels.close()
        return canvas, failed


def level_for(downsamples: tuple[float, ...], px_l0: tuple[float, float]) -> int:
    """Index of the coarsest level whose pixels are not larger than `px_l0` along either axis."""
    limit = min(px_l0) * (1 + LEVEL_TOLERANCE)
    return max((index for index, scale in enumerate(downsamples) if scale <= limit), default=0)


def nominal_downsample(size_l0: tuple[int, int], size: tuple[int, int], stated: float) -> float:
    """Level-0 pixels per level pixel.

    Writers reduce by a whole number and cut or fill the last pixel, so that a ratio of sizes such as
    2.0005 means 2. `stated` stands where no whole number explains both sides.
    """
    whole = max(1, round(stated))
    explained = all(abs(full / whole - part) < 1 for full, part in zip(size_l0, size, strict=True))
    return float(whole) if explained else stated


def on_white(pixels: Image.Image) -> Image.Image:
    """Lay transparent pixels on white; RGB stays as it is."""
    if pixels.mode == "RGB":
        return pixels
    if pixels.getchannel("A").getextrema() == (255, 255):
        return pixels.convert("RGB")
    canvas = Image.new("RGB", pixels.size, WHITE)
    canvas.paste(pixels, mask=pixels)
    return canvas


@dataclass(frozen=True)
class _Span:
    """Level pixels along one axis under `count` wanted pixels; `offset` is where the first begins."""

    first: int
    length: int
    offset: float
    ratio: float
    count: int

    @classmethod
    def along(cls, start: float, ratio: float, count: int) -> _Span:
        whole = max(1, round(ratio))
        if abs(ratio - whole) * count < DRIFT_PX:
            return cls(math.floor(start + 0.5), count * whole, 0.0, whole, count)
        first = math.floor(start)
        return cls(first, math.ceil(start + count * ratio) - first, start - first, ratio, count)

    @property
    def whole(self) -> int:
        """The ratio if wanted pixels are whole level pixels, else 0."""
        return int(self.ratio) if self.offset == 0 and self.ratio == int(self.ratio) else 0

    def weights(self) -> csr_array:
        """Share of each level pixel (columns) in each wanted pixel (rows); rows sum to 1."""
        edges = self.offset + self.ratio * np.arange(self.count + 1)
        reach = math.ceil(self.ratio) + 1
        columns = np.floor(edges[:-1]).astype(int)[:, None] + np.arange(reach)
        covered = np.minimum(columns + 1, edges[1:, None]) - np.maximum(columns, edges[:-1, None])
        rows = np.broadcast_to(np.arange(self.count)[:, None], columns.shape)
        keep = (covered > 0) & (columns < self.length)
        shares = (covered[keep] / self.ratio).astype(np.float32)
        return csr_array((shares, (rows[keep], columns[keep])), shape=(self.count, self.length))


def _average(image: Image.Image, across: _Span, down: _Span) -> NDArray[np.uint8]:
    factors = across.whole, down.whole
    if all(factors):
        return np.asarray(image if factors == (1, 1) else image.reduce(factors))
    pixels = np.asarray(image).reshape(down.length, -1)
    vertical, horizontal = down.weights(), across.weights()
    mean = np.empty((down.count, across.count, 3), np.uint8)
    for top in range(0, down.count, BAND_PX):
        shares = vertical[top : top + BAND_PX]
        first, last = shares.indices.min(), shares.indices.max() + 1
        rows = shares[:, first:last] @ pixels[first:last].astype(np.float32)
        turned = rows.reshape(-1, across.length, 3).transpose(1, 0, 2).reshape(across.length, -1)
        band = np.rint(horizontal @ turned).reshape(across.count, -1, 3)
        mean[top : top + BAND_PX] = band.transpose(1, 0, 2)
    return mean
