"""Where the JPEG tiles of a TIFF slide lie in its file, and how they are coded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi_necrosis.slides.jpeg_decode import head_of
from wsi_necrosis.slides.tiff_check import COLOURS, JPEG, jpeg_frame
from wsi_necrosis.slides.window import Window

MCU_PX = 16  # sides of tiles are multiples of it, and so of all `jpeg_tiff_reader.SHRINKS`


class UnfitError(Exception):
    """The file is of a kind that the fast reader leaves to OpenSlide."""


@dataclass(frozen=True)
class StoredLevel:
    """One stored level.

    Attributes
    ----------
    size, tile : tuple of int
        Width and height of the level and of its tiles.
    offsets, lengths : int64 array (rows, cols)
        Position and number of bytes of every tile; a tile of 0 bytes is white.
    head : bytes
        Start of every tile's JPEG stream.
    colour : {"RGB", "YCbCr"}
        Colour space of its samples: what its JPEG streams prove, else what the TIFF tag says.
    contradicts_tag : bool
        Whether the tag says another one.
    """

    size: tuple[int, int]
    tile: tuple[int, int]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    head: bytes
    colour: str
    contradicts_tag: bool = False

    def window(self, row: int, col: int) -> Window:
        """Pixels of a tile that lie in the level."""
        width, height = self.tile
        left, top = col * width, row * height
        return Window(left, top, min(width, self.size[0] - left), min(height, self.size[1] - top))


def find_levels(path: Path, sizes: tuple[tuple[int, int], ...]) -> list[StoredLevel]:
    """Find the stored levels of these sizes (width, height).

    Raises
    ------
    UnfitError
        A level is not there, is there twice, or is not made of JPEG tiles of 8-bit RGB.
    """
    with tifffile.TiffFile(path) as tiff:
        pages = [page for page in tiff.pages if page.is_tiled]
        return [_level(_only([page for page in pages if _size(page) == size])) for size in sizes]


def _level(page: Any) -> StoredLevel:
    (width, height), tile = _size(page), (page.tilewidth, page.tilelength)
    rows, cols = -(-height // tile[1]), -(-width // tile[0])
    head, colour = head_of(page.jpegtables), COLOURS.get(page.photometric)
    layout = page.samplesperpixel, page.bitspersample, page.planarconfig, page.imagedepth
    _require(page.compression == JPEG, f"its compression is number {int(page.compression)} of TIFF's")
    _require(layout == (3, 8, 1, 1), "it is not 8-bit RGB, pixel by pixel")
    _require(tile[0] % MCU_PX == 0 and tile[1] % MCU_PX == 0, f"its tiles are {tile[0]} x {tile[1]} px")
    _require(
        len(page.dataoffsets) == len(page.databytecounts) == rows * cols, f"its tiles are not {rows} x {cols}"
    )
    if head is None or colour is None:
        raise UnfitError("its JPEG tables or its colours are unusual")
    offsets, lengths = (
        np.array(values, np.int64).reshape(rows, cols) for values in (page.dataoffsets, page.databytecounts)
    )
    frame = jpeg_frame(page)
    proven = None if frame is None else frame.proven_colour
    differs = proven is not None and proven != colour
    return StoredLevel((width, height), tile, offsets, lengths, head, proven or colour, differs)


def _only(pages: list[Any]) -> Any:
    _require(len(pages) == 1, f"{len(pages)} of its tiled pictures have the size of one level")
    return pages[0]


def _size(page: Any) -> tuple[int, int]:
    return page.imagewidth, page.imagelength


def _require(condition: bool, reason: str) -> None:  # noqa: FBT001  # a condition, not an option
    if not condition:
        raise UnfitError(reason)
