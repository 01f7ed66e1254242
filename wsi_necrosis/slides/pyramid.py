"""The levels of a slide, and how pixels of any size are averaged from them.

A working pixel is the mean of the level pixels under it. Reads ask a level for whole pixels, so
that nothing is interpolated on the way; tiles that cannot be decoded stay white and are reported.
Level 0 decides what is not stored: what a coarser level alone lacks is averaged from a finer one.
An error of the system is no damage, and ends a read.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import ReadError, SlideError
from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.holes import holes, level_0_stores, next_finer
from wsi_necrosis.slides.resample import Span, average
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.slides.stored_levels import WHITE, JpegTiles, Levels, Region, level_for
from wsi_necrosis.slides.window import TileSet, Window

PATIENCE_S = 10.0  # with a read under way, when the file is to be closed


class Pyramid:
    """Averages of level pixels; reads go on where a stored tile cannot be decoded; may be shared by threads.

    Parameters
    ----------
    levels : Levels
        The file's levels.
    files : SourceFiles, optional
        Asked after each failure of a decoder, which may be one of the system.
    """

    def __init__(self, levels: Levels, files: SourceFiles | None = None) -> None:
        self._levels, self._files = levels, files or SourceFiles(())
        self.jpeg_tiles = levels.jpeg_tiles if isinstance(levels, JpegTiles) else (None,) * levels.stored
        # Reads under way, by levels: those in use, and failed ones that they replaced.
        self._readers: Counter[Levels] = Counter()
        self._closed = False
        self._broken = False  # by an error of the system: the next read opens the file anew
        self._condition = threading.Condition()  # guards all four

    def close(self) -> None:
        """Close the file when the reads under way have ended; closing twice does no harm.

        A file that a read hangs in stays open, since OpenSlide aborts the process otherwise.
        """
        with self._condition:
            if self._closed:
                return
            self._closed = True
            if self._condition.wait_for(lambda: not self._readers, PATIENCE_S):
                self._levels.close()

    def read(
        self,
        box: Box,
        px_l0: tuple[float, float],
        shape: tuple[int, int],
        needed: Sequence[Box] | None = None,
    ) -> Region:
        """Average level pixels over a box.

        Parameters
        ----------
        box : Box
            Its top-left corner is that of the first pixel; it may overhang the slide.
        px_l0 : tuple of float
            Level-0 pixels (x, y) per wanted pixel.
        shape : tuple of int
            Rows and columns of the result.
        needed : sequence of Box, optional
            Only stored tiles that meet one of these are decoded; the rest of the result stays white.
            Pixels in these boxes are the same as without them.

        Notes
        -----
        Where a wanted pixel is a whole number of level pixels, these start at the nearest whole
        level pixel: a shift of at most half a level pixel, the same for neighbouring boxes.
        Elsewhere every level pixel counts by the share of it that is covered.

        Raises
        ------
        ReadError
            The system failed to read the file; the next read opens it anew.
        SlideError
            The slide is closed.
        """
        with self._reading() as levels:
            level, across, down = _place(levels, box, px_l0, shape)
            window = Window(across.first, down.first, across.length, down.length)
            parts = (
                [window] if needed is None else [_under(part, box, px_l0, across, down) for part in needed]
            )
            try:
                found = self._without_holes(levels, level, window, parts)
            except ReadError:
                with self._condition:
                    self._broken |= self._levels is levels
                raise
            lost = (part.intersection(box) for part in found.lost)
            return Region(
                average(found.rgb, across, down),
                tuple(part for part in lost if part is not None),
                found.decoded_l0,
                _mostly(found.absent, across, down),
            )

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A stored tile of a level of `jpeg_tiles`, as `JpegTiles.jpeg_tile`; errors as `read`."""
        with self._reading() as levels:
            return levels.jpeg_tile(level, row, col) if isinstance(levels, JpegTiles) else None

    @contextmanager
    def _reading(self) -> Iterator[Levels]:
        """Keep levels open during a read; OpenSlide aborts the process if it is closed meanwhile."""
        with self._condition:
            if self._closed:
                raise SlideError("the slide is closed; open it again")
            if self._broken:
                self._renew()
            levels = self._levels
            self._readers[levels] += 1
        try:
            yield levels
        finally:
            with self._condition:
                self._readers[levels] -= 1
                if not self._readers[levels]:
                    del self._readers[levels]
                    if levels is not self._levels:  # they failed, and this was their last read
                        levels.close()
                self._condition.notify_all()

    def _without_holes(
        self, levels: Levels, level: int, window: Window, needed: Sequence[Window]
    ) -> _Gathered:
        """Level pixels of a window; those that the level lacks and level 0 stores are means of finer ones."""
        found = self._gather(levels, level, window, needed)
        absent = found.absent
        if absent is None or not absent.any():
            return found
        lost, decoded_l0 = list(found.lost), found.decoded_l0
        with ExitStack() as opened:  # levels that failed once may fail for ever, so that others are opened
            if lost:
                levels = _opened_for(opened, levels)
            for hole in holes(levels, level, window, absent):
                at = hole.within(window)
                stores = level_0_stores(levels, level, hole, absent[at])
                instead = self._fill(levels, level, hole, found.rgb[at], absent[at]) if stores else None
                if instead is not None:
                    lost += instead.lost
                    decoded_l0 += instead.decoded_l0
                elif stores is None:  # damaged tiles may be many, and are not told apart
                    self._files.require_readable()
                    self._replace(levels)
                    lost.append(Box(*(levels.downsamples[level] * length for length in hole)))
                    found.rgb[at][absent[at]] = WHITE
                    absent[at] = False
                if stores is None or (instead is not None and instead.lost):
                    opened.close()
                    levels = _opened_for(opened, levels)
        found.rgb[absent] = WHITE
        return replace(found, lost=lost, decoded_l0=decoded_l0)

    def _fill(
        self, levels: Levels, level: int, hole: Window, rgb: NDArray[np.uint8], absent: NDArray[np.bool_]
    ) -> _Gathered:
        """Fill a hole's pixels that are absent with means of the next finer level's; what was gathered of that."""
        finer = next_finer(levels, level) or 0
        ratio = levels.downsamples[level] / levels.downsamples[finer]
        across = Span.along(hole.left * ratio, ratio, hole.width)
        down = Span.along(hole.top * ratio, ratio, hole.height)
        under = Window(across.first, down.first, across.length, down.length)
        found = self._without_holes(levels, finer, under, [under])
        lacks = _mostly(found.absent, across, down)
        filled = absent.copy() if lacks is None else absent & ~lacks
        rgb[filled] = average(found.rgb, across, down)[filled]
        absent[filled] = False
        return found

    def _gather(self, levels: Levels, level: int, window: Window, needed: Sequence[Window]) -> _Gathered:
        """Level pixels of a window, as the level stores them."""
        inside = window.clipped(levels.sizes[level])
        if inside is None:
            return _Gathered(_white(window), None, [], 0.0)
        (width, height), scale = levels.tiles[level], levels.downsamples[level]
        tiles = TileSet((width, height), inside, needed)
        is_full = inside == window and tiles.covers
        pixels = np.empty((window.height, window.width, 3), np.uint8) if is_full else _white(window)
        target = _Target(window, pixels, np.zeros(pixels.shape[:2], bool) if levels.is_sparse else None)
        pending, decoded = tiles.rectangles(), 0
        failed: list[Window] = []
        while pending:
            count = target.fetch(levels, level, pending[-1])
            if count is None:
                self._files.require_readable()
                self._replace(levels)
                failed, count = self._salvage(levels, level, target, pending)
                pending = []
            else:
                pending.pop()
            decoded += count
        lost = [Box(*(scale * length for length in part)) for part in failed]
        return _Gathered(pixels, target.absent, lost, decoded * width * height * scale**2)

    def _renew(self) -> None:
        """Open the file anew; called with the condition held."""
        broken, self._levels = self._levels, _reopened(self._levels)
        self._broken = False
        if not self._readers[broken]:
            broken.close()

    def _replace(self, failed: Levels) -> None:
        """Open the file anew for later reads; threads that shared the failed levels do it once."""
        with self._condition:
            if self._levels is failed:
                self._levels = _reopened(failed)

    def _salvage(
        self, failing: Levels, level: int, target: _Target, pending: list[Window]
    ) -> tuple[list[Window], int]:
        """Fetch the rest by halves, down to stored tiles, so that only bad tiles are lost.

        The file is opened for this alone, since a failure in another thread would make shared levels fail
        too. A tile is bad when it fails twice by itself, while the system reads the file. Returns the windows that
        failed, and the number of tiles decoded.
        """
        failed: list[Window] = []
        tried: set[Window] = set()
        decoded = 0
        with ExitStack() as opened:
            levels = _opened_for(opened, failing)
            while pending:
                part = pending.pop()
                count = target.fetch(levels, level, part)
                if count is not None:
                    decoded += count
                    continue
                self._files.require_readable()
                opened.close()
                levels = _opened_for(opened, failing)
                halves = part.halves(levels.tiles[level])
                if halves:
                    pending += halves
                elif part not in tried:
                    tried.add(part)
                    pending.append(part)
                else:
                    target.rgb[part.within(target.window)] = WHITE
                    failed.append(part)
        return failed, decoded


@dataclass(frozen=True)
class _Gathered:
    """Level pixels of a window.

    `absent` has those that are not stored, `lost` the level-0 boxes that cannot be decoded, `decoded_l0` the area of
    the tiles that were decoded, in level-0 pixels.
    """

    rgb: NDArray[np.uint8]
    absent: NDArray[np.bool_] | None
    lost: list[Box]
    decoded_l0: float


@dataclass(frozen=True)
class _Target:
    """A window of level pixels that is being filled."""

    window: Window
    rgb: NDArray[np.uint8]
    absent: NDArray[np.bool_] | None

    def fetch(self, levels: Levels, level: int, part: Window) -> int | None:
        """Decode a part of it, as `Levels.fetch`."""
        at = part.within(self.window)
        if self.absent is None:
            return levels.fetch(level, part, self.rgb[at])
        return levels.fetch(level, part, self.rgb[at], self.absent[at])


def _place(
    levels: Levels, box: Box, px_l0: tuple[float, float], shape: tuple[int, int]
) -> tuple[int, Span, Span]:
    """The level to read, and which of its pixels lie under the wanted ones."""
    level = level_for(levels.downsamples[: levels.stored], px_l0)
    scale = levels.downsamples[level]
    across = Span.along(box.x_l0 / scale, px_l0[0] / scale, shape[1])
    down = Span.along(box.y_l0 / scale, px_l0[1] / scale, shape[0])
    side = across.whole if across.whole == down.whole else 0
    if side > 1 and across.first % side == down.first % side == 0:
        between = levels.downsamples[levels.stored :]
        if side * scale in between:
            return levels.stored + between.index(side * scale), across.by_squares(), down.by_squares()
    return level, across, down


def _under(part: Box, box: Box, px_l0: tuple[float, float], across: Span, down: Span) -> Window:
    """Level pixels under the wanted pixels that a part of the box touches."""
    x, y = px_l0
    left, right = across.under((part.x_l0 - box.x_l0) / x, (part.right_l0 - box.x_l0) / x)
    top, bottom = down.under((part.y_l0 - box.y_l0) / y, (part.bottom_l0 - box.y_l0) / y)
    return Window(left, top, right - left, bottom - top)


def _mostly(flags: NDArray[np.bool_] | None, across: Span, down: Span) -> NDArray[np.bool_] | None:
    """Wanted pixels of which the larger part of level pixels is flagged; None where none is."""
    if flags is None or not flags.any():
        return None
    shares = average(np.repeat(flags[..., None] * np.uint8(255), 3, axis=2), across, down)
    return np.asarray(shares[..., 0] > 127)


def _opened_for(opened: ExitStack, failing: Levels) -> Levels:
    """Levels of the same file, which the stack closes."""
    levels = _reopened(failing)
    opened.callback(levels.close)
    return levels


def _reopened(levels: Levels) -> Levels:
    """Open the file again; it opened before, so that a failure is the system's."""
    try:
        return levels.reopened()
    except ReadError:
        raise
    except (SlideError, OSError) as error:
        raise ReadError(f"the slide cannot be opened again ({error}); run the same command again") from error


def _white(window: Window) -> NDArray[np.uint8]:
    return np.full((window.height, window.width, 3), 255, np.uint8)
