"""The fast reader: JPEG-tiled TIFF slides (most SVS, generic TIFF), averaged tile by tile.

Stored tiles are found with tifffile and decoded by libjpeg-turbo. Averages over squares of their pixels,
taken while a tile is in the processor's cache, are levels between the stored ones. OpenSlide is the
reference: a file of unusual structure, or with a sampled tile that differs from OpenSlide's, is read by
OpenSlide.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import ReadError
from wsi_necrosis.slides.info import SlideInfo
from wsi_necrosis.slides.jpeg_decode import decode_tile, whole_jpeg
from wsi_necrosis.slides.jpeg_index import StoredLevel, UnfitError, find_levels
from wsi_necrosis.slides.source_files import raise_if_of_the_system, read_error
from wsi_necrosis.slides.stored_levels import Levels
from wsi_necrosis.slides.window import Window, mark_unstored

logger = logging.getLogger(__name__)

SHRINKS = (2, 4, 8, 16)  # sides of squares whose means are levels; stored tiles are whole numbers of them
VENDORS = frozenset({"aperio", "generic-tiff"})  # whose tiles lie side by side, without overlap or offsets
ROUNDING = 2  # grey levels by which two decoders may differ
COMPARED_PX = 512  # side of the part of a tile that is compared with OpenSlide
CACHE_BYTES = 2**25  # of tiles that neighbouring blocks share; enough for a row of blocks of most slides
# What tifffile (its TiffFileError is a ValueError) raises on damage.
DAMAGE = (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, struct.error)


class JpegTiffLevels:
    """Stored levels, and averages of them in between; may be shared by threads."""

    def __init__(self, path: Path, levels: Sequence[StoredLevel], downsamples: Sequence[float]) -> None:
        self._path, self._levels, self._downsamples = path, tuple(levels), tuple(downsamples)
        self._file = os.open(path, os.O_RDONLY)
        self._cache = _TileCache()
        self.stored = len(self._levels)
        # Stored level and shrink of each level.
        self._sources = [*((index, 1) for index in range(self.stored)), *levels_between(self._downsamples)]
        self.downsamples = tuple(self._downsamples[index] * shrink for index, shrink in self._sources)
        self.sizes = tuple(_divided(self._levels[index].size, shrink) for index, shrink in self._sources)
        self.tiles = tuple(_divided(self._levels[index].tile, shrink) for index, shrink in self._sources)
        self.jpeg_tiles = tuple(level.tile for level in self._levels)
        self.is_sparse = any((level.lengths == 0).any() for level in self._levels)

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window inside the level to RGB; None if a tile is damaged.

        Tiles of which the window takes a part are cached: the next window may need the other part.
        """
        width, height = self.tiles[level]
        decoded = 0
        for part in window.by_tile((width, height)):
            key = level, part.top // height, part.left // width
            whole = Window(key[2] * width, key[1] * height, width, height)
            tile = self._cache.get(key)
            if tile is None:
                tile = self._tile(*key)
                decoded += 1
            if tile is None:
                logger.debug("%s: level %d, tile %d, %d cannot be decoded", self._path, *key)
                return None
            if part != whole.clipped(self.sizes[level]):
                self._cache.put(key, tile)
            out[part.within(window)] = tile[part.within(whole)]
        if absent is not None:  # level 0 counts, too, as a coarser level may show what it does not store
            for index in {0, self._sources[level][0]}:
                stored, scale = self._levels[index], self.downsamples[level] / self._downsamples[index]
                mark_unstored(absent, window, scale, stored.tile, stored.lengths == 0)
        return decoded

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A stored tile as a JPEG file; None where it is not stored, or damaged."""
        stored = self._levels[level]
        data = self._bytes(stored, row, col)
        return whole_jpeg(data, stored.head, stored.colour, stored.tile) if data else None

    def reopened(self) -> Self:
        """Open the same file again."""
        return type(self)(self._path, self._levels, self._downsamples)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _tile(self, level: int, row: int, col: int) -> NDArray[np.uint8] | None:
        """One stored tile at a level's scale; None if it cannot be decoded."""
        index, shrink = self._sources[level]
        stored, (width, height) = self._levels[index], self.tiles[level]
        data = self._bytes(stored, row, col)
        if not data:
            return np.full((height, width, 3), 255, np.uint8)
        tile = decode_tile(data, stored.head, stored.colour, stored.tile)
        if tile is None or shrink == 1:
            return tile
        inside = stored.window(row, col)
        tile[inside.height :], tile[:, inside.width :] = 255, 255  # white beyond the level, as in all readers
        # numba takes half a second to import; reading a slide's metadata does not need it
        from wsi_necrosis.slides.block_mean import block_mean

        return block_mean(tile, shrink)

    def _bytes(self, stored: StoredLevel, row: int, col: int) -> bytes:
        """A tile as it lies in the file; nothing where it is not stored."""
        length = int(stored.lengths[row, col])
        try:
            data = os.pread(self._file, length, int(stored.offsets[row, col]))
        except OSError as error:
            raise read_error(error, self._path) from error
        if len(data) < length:
            raise ReadError(
                f"{self._path} ends before its last tile; it was cut, or is copied still: copy it again"
            )
        return data


def open_jpeg_tiff(info: SlideInfo, reference: Levels) -> JpegTiffLevels | None:
    """Open a slide with the fast reader, if that gives the pixels that OpenSlide gives.

    Parameters
    ----------
    info : SlideInfo
        Its metadata as read by OpenSlide.
    reference : Levels
        The same levels as opened by OpenSlide.

    Returns
    -------
    JpegTiffLevels or None
        None where OpenSlide must read the slide; the log gives the reason.

    Raises
    ------
    ReadError
        The system failed to read the file, or it ends before its last tile.
    """
    try:
        stored = _usable_levels(info)
        levels = JpegTiffLevels(info.path, stored, info.downsamples)
    except (UnfitError, *DAMAGE) as reason:
        raise_if_of_the_system(reason, info.path)
        logger.info("%s is read by OpenSlide: %s", info.path, reason)
        return None
    try:
        _require_whole(info.path, stored)
        differing = _first_difference(levels, stored, reference)
    except BaseException:
        levels.close()
        raise
    if differing is None:
        return levels
    levels.close()
    logger.warning("%s is read by OpenSlide: the fast reader sees other pixels in %s", info.path, differing)
    return None


def levels_between(downsamples: tuple[float, ...]) -> list[tuple[int, int]]:
    """Levels (stored one, shrink) between the stored ones, each from the coarsest that gives it."""
    nexts = (*downsamples[1:], np.inf)
    return [
        (index, shrink)
        for index, (own, following) in enumerate(zip(downsamples, nexts, strict=True))
        for shrink in SHRINKS
        if own * shrink < following
    ]


class _TileCache:
    """The tiles that were used last."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[tuple[int, int, int], NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[int, int, int]) -> NDArray[np.uint8] | None:
        with self._lock:
            if key in self._tiles:
                self._tiles.move_to_end(key)
            return self._tiles.get(key)

    def put(self, key: tuple[int, int, int], tile: NDArray[np.uint8]) -> None:
        with self._lock:
            if key in self._tiles:
                return
            self._tiles[key] = tile
            self._bytes += tile.nbytes
            while (
                self._bytes > CACHE_BYTES and len(self._tiles) > 1
            ):  # a large tile is decoded for many windows
                self._bytes -= self._tiles.popitem(last=False)[1].nbytes


def _usable_levels(info: SlideInfo) -> list[StoredLevel]:
    """The stored levels, if the fast reader supports all that they are made of."""
    if info.vendor not in VENDORS:
        raise UnfitError(f"its format is {info.vendor}")
    if not hasattr(os, "pread"):
        raise UnfitError("this system cannot read a file from several threads at once")
    levels = find_levels(info.path, info.levels)
    empty = any((level.lengths == 0).any() for level in levels)
    if empty and info.vendor == "aperio" and len(levels) > 1:  # OpenSlide fills them from finer levels
        raise UnfitError("some of its tiles are empty")
    return levels


def _require_whole(path: Path, levels: Sequence[StoredLevel]) -> None:
    """Refuse a file that is shorter than its directory says."""
    ends = (np.where(level.lengths > 0, level.offsets + level.lengths, 0).max() for level in levels)
    size, promised = path.stat().st_size, max(map(int, ends))
    if size < promised:
        raise ReadError(
            f"{path} has {size} bytes where its directory names {promised}; it was cut, or is copied still: copy it "
            "again"
        )


def _divided(size: tuple[int, int], shrink: int) -> tuple[int, int]:
    return -(-size[0] // shrink), -(-size[1] // shrink)


def _first_difference(levels: JpegTiffLevels, stored: Sequence[StoredLevel], reference: Levels) -> str | None:
    """Name the first of the sampled tiles that OpenSlide decodes to something else; None if there is none.

    OpenSlide believes the tag of a level whose tiles prove it wrong, so that such a level is not compared.
    """
    openslide = reference.reopened()
    try:
        for index, level in enumerate(stored):
            for row, col in [] if level.contradicts_tag else _sample(level.lengths):
                window = _corner(level.window(row, col))
                ours, theirs = (np.empty((window.height, window.width, 3), np.uint8) for _ in range(2))
                we_fail = levels.fetch(index, window, ours) is None
                they_fail = openslide.fetch(index, window, theirs) is None
                if they_fail:  # OpenSlide's handle then fails for ever, also by an error that has passed
                    openslide.close()
                    openslide = reference.reopened()
                    they_fail = openslide.fetch(index, window, theirs) is None
                if they_fail:
                    openslide.close()
                    openslide = reference.reopened()
                reach = int(_interpolates(stored[0].size, level.size))
                if we_fail != they_fail or not (we_fail or _match(ours, theirs, reach)):
                    return f"tile {row}, {col} of level {index}"
    finally:
        openslide.close()
    return None


def _corner(tile: Window) -> Window:
    """The part of a tile that is compared: enough to tell decoders apart, whatever the tile's size."""
    return Window(tile.left, tile.top, min(tile.width, COMPARED_PX), min(tile.height, COMPARED_PX))


def _interpolates(size_l0: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether OpenSlide mixes pixels of a level from neighbours: where the mean ratio of its sides is not whole."""
    return not ((size_l0[0] / size[0] + size_l0[1] / size[1]) / 2).is_integer()


def _sample(lengths: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Row and column of the first, the middle and the last tile, and of that with the most bytes."""
    picks = {0, lengths.size // 2, lengths.size - 1, int(lengths.argmax())}
    return [divmod(pick, lengths.shape[1]) for pick in sorted(picks)]


def _match(ours: NDArray[np.uint8], theirs: NDArray[np.uint8], reach: int) -> bool:
    """Whether every pixel of theirs lies within the range of our pixels up to `reach` around it; edges are left out.

    OpenSlide may interpolate, by less than a pixel.
    """
    low = high = ours
    if reach:
        from scipy.ndimage import maximum_filter, minimum_filter  # takes half a second; few levels need it

        side = (2 * reach + 1, 2 * reach + 1, 1)
        low, high = minimum_filter(low, side), maximum_filter(high, side)
    most = np.uint8(255 - ROUNDING)  # 8-bit numbers do not wrap around
    fits = (np.minimum(theirs, most) + ROUNDING >= low) & (theirs <= np.minimum(high, most) + ROUNDING)
    return bool(fits[reach : len(fits) - reach, reach : fits.shape[1] - reach].all())
