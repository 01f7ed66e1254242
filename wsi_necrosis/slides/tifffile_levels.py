"""The stored levels of an image of a TIFF, found with tifffile: tiles or strips, in one plane or three."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.errors import SlideError
from wsi_necrosis.slides.jpeg_decode import decode_tile, head_of, whole_jpeg
from wsi_necrosis.slides.source_files import raise_if_of_the_system
from wsi_necrosis.slides.stored_levels import on_white, plain_downsample
from wsi_necrosis.slides.tiff_check import (
    COLOURS,
    CONVERT,
    DAMAGE,
    check_page,
    jpeg_frame,
    resolution_um,
    told_as_damage,
)
from wsi_necrosis.slides.window import Window, mark_unstored

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """One image of a TIFF: for each level its planes (three, or one that holds all colours), as places of pages.

    A page is named by its file, its number, and the number of its sub-directory (-1: the page itself).
    """

    levels: tuple[tuple[tuple[Path, int, int], ...], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that holds a page of it."""
        return tuple(sorted({file for level in self.levels for file, _, _ in level}))


class TifffileLevels:
    """Stored levels of one image of a TIFF; may be shared by threads."""

    def __init__(self, path: Path, picture: Picture) -> None:
        self._path, self._picture = path, picture
        self._opened = ExitStack()
        try:
            with told_as_damage(path):
                files = {file: self._opened.enter_context(tifffile.TiffFile(file)) for file in picture.files}
                self._pages = [[_page(files[file], *at) for file, *at in level] for level in picture.levels]
                for page in (page for level in self._pages for page in level):
                    check_page(path, page)
                self._stored = [_Stored(level) for level in self._pages]
        except BaseException:
            self._opened.close()
            raise
        self.sizes = tuple(stored.size for stored in self._stored)
        self.tiles = tuple(stored.tile for stored in self._stored)
        self.downsamples = tuple(plain_downsample(self.sizes[0], size) for size in self.sizes)
        self.stored = len(self.sizes)
        self.jpeg_tiles = tuple(stored.jpeg_tile_size for stored in self._stored)
        self.is_sparse = any(stored.unstored.any() for stored in self._stored)

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window inside the level to RGB on white; None if a tile is damaged."""
        width, height = self.tiles[level]
        for part in window.by_tile((width, height)):
            row, col = part.top // height, part.left // width
            try:
                tile = self._stored[level].tile_at(row, col)
            except DAMAGE as error:
                raise_if_of_the_system(error, self._path)
                logger.debug("%s: level %d, %s: %s", self._path, level, part, error)
                return None
            if tile is None:
                out[part.within(window)] = 255
            else:
                out[part.within(window)] = tile[part.within(Window(col * width, row * height, width, height))]
        if absent is not None:  # level 0 counts, too, as a coarser level may show what it does not store
            for index in {0, level}:
                scale = self.downsamples[level] / self.downsamples[index]
                mark_unstored(absent, window, scale, self.tiles[index], self._stored[index].unstored)
        return window.count_tiles((width, height))

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A stored tile as a JPEG file; None where it is not stored, or damaged."""
        try:
            return self._stored[level].jpeg_at(row, col)
        except DAMAGE as error:
            raise_if_of_the_system(error, self._path)
            return None

    def page_sizes_um(self) -> Mapping[tuple[int, int], tuple[float, float]]:
        """Pixel size (x, y) in um that each level's page states, by the level's size."""
        found = {size: resolution_um(pages[0]) for size, pages in zip(self.sizes, self._pages, strict=True)}
        return {size: um for size, um in found.items() if um is not None}

    def contradiction(self) -> str | None:
        """Where the tag of a level and its JPEG tiles disagree on colours, in words."""
        return next((stored.contradiction for stored in self._stored if stored.contradiction), None)

    def reopened(self) -> Self:
        """Open the same file again."""
        return type(self)(self._path, self._picture)

    def close(self) -> None:
        """Close every file."""
        self._opened.close()


def _page(tiff: tifffile.TiffFile, number: int, sub: int) -> Any:
    page = tiff.pages[number]
    return page if sub < 0 else page.pages[sub]


class _Stored:
    """One level: a page whose pixels hold three samples, or three planes."""

    def __init__(self, pages: Sequence[Any]) -> None:
        page = self._page = pages[0]
        self._pages = pages
        self._lock = threading.Lock()
        self.size = page.imagewidth, page.imagelength
        rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        self.tile = (page.tilewidth if page.is_tiled else page.imagewidth), rows
        self._cols, self._rows = (-(-side // tile) for side, tile in zip(self.size, self.tile, strict=True))
        frame = jpeg_frame(page) if page.is_tiled else None
        tag = COLOURS.get(int(page.photometric))
        self._colour = (frame.proven_colour if frame is not None else None) or tag
        self.contradiction = None
        if frame is not None and len(frame.ids) == 3 and self._colour != tag:
            self.contradiction = f"the TIFF tag says {tag} and the JPEG tiles are {self._colour}"
        self._is_plain_jpeg = frame is not None and frame.unread is None and len(frame.ids) == 3
        if frame is not None and frame.unread:
            raise SlideError(
                f"{page.parent.filehandle.path} holds {frame.unread}, which is not read; {CONVERT}"
            )

    @cached_property
    def unstored(self) -> NDArray[np.bool_]:
        """Tiles (rows, cols) that lack one of their planes."""
        lengths = np.array([page.databytecounts for page in self._pages], np.int64)
        return np.asarray((lengths == 0).reshape(-1, self._rows, self._cols).any(axis=0))

    @property
    def jpeg_tile_size(self) -> tuple[int, int] | None:
        """Width and height of its tiles, where each is one JPEG that is read here."""
        whole = self._is_plain_jpeg and self._colour is not None and len(self._pages) == 1
        return self.tile if whole and self._page.planarconfig == 1 else None

    def jpeg_at(self, row: int, col: int) -> bytes | None:
        """A tile as a JPEG file; None where there is none, or it is damaged. Raises one of `DAMAGE`."""
        data, head = self._bytes(self._page, row * self._cols + col), head_of(self._page.jpegtables)
        if data is None or head is None or self._colour is None:
            return None
        return whole_jpeg(data, head, self._colour, self.tile)

    def tile_at(self, row: int, col: int) -> NDArray[np.uint8] | None:
        """A tile in RGB (height, width, 3), white beyond the level; None where it is not stored.

        Raises one of `DAMAGE` where it cannot be decoded.
        """
        index, page = row * self._cols + col, self._page
        if len(self._pages) == 3:
            planes = [self._segment(each, index) for each in self._pages]
        elif page.planarconfig == 2:
            count = self._rows * self._cols
            planes = [self._segment(page, index + plane * count) for plane in range(page.samplesperpixel)]
        else:
            planes = [self._segment(page, index)]
        if any(plane is None for plane in planes):
            return None
        pixels = np.concatenate([plane for plane in planes if plane is not None], axis=-1)
        out = np.full((self.tile[1], self.tile[0], 3), 255, np.uint8)
        shown = np.asarray(on_white(Image.fromarray(np.ascontiguousarray(pixels))))
        out[: len(shown), : shown.shape[1]] = shown
        return out

    def _segment(self, page: Any, index: int) -> NDArray[np.uint8] | None:
        data = self._bytes(page, index)
        if data is None:
            return None
        if self._is_plain_jpeg and self._colour is not None:
            head = head_of(page.jpegtables)
            tile = None if head is None else decode_tile(data, head, self._colour, self.tile)
            if tile is None:
                raise ValueError("a JPEG tile is damaged")
            return tile
        found, _, shape = page.decode(data, index, jpegtables=page.jpegtables)
        if found is None:
            raise ValueError("a tile is damaged")
        pixels: NDArray[np.uint8] = found.reshape(shape)[0]
        return pixels

    def _bytes(self, page: Any, index: int) -> bytes | None:
        """A tile as it lies in the file; None where it is not stored."""
        offset, length = page.dataoffsets[index], page.databytecounts[index]
        if length == 0:
            return None
        handle = page.parent.filehandle
        with self._lock:
            handle.seek(offset)
            data: bytes = handle.read(length)
        if len(data) < length:
            raise ValueError("the file ends before its last tile")
        return data
