"""Decode one JPEG tile of a TIFF, whole or at a fraction of its size."""

from __future__ import annotations

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHRINKS = (2, 4, 8)  # what the cosine transform of 8 x 8 pixels gives at whole sizes
SOI, EOI = b"\xff\xd8", b"\xff\xd9"
FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # markers of the frames that are read: baseline, extended, progressive
SCAN = 0xDA  # marker after which there are pixels
PADDING = 16  # bytes that a writer may leave after a tile's end


def head_of(tables: bytes | None) -> bytes | None:
    """Give what a tile's stream begins with, from TIFF's JPEGTables; None if these are no tables."""
    if not tables:
        return SOI
    return tables[: -len(EOI)] if tables.startswith(SOI) and tables.endswith(EOI) else None


def decode_tile(
    data: bytes, head: bytes, colour: str, size: tuple[int, int], shrink: int = 1
) -> NDArray[np.uint8] | None:
    """Decode a stored tile to RGB.

    Parameters
    ----------
    data : bytes
        The tile as it is stored.
    head : bytes
        What comes before it in the place of its first marker; see `head_of`.
    colour : {"RGB", "YCbCr"}
        What the samples are, whatever the stream says of itself.
    size : tuple of int
        Width and height of the tile.
    shrink : {1, 2, 4, 8}
        The result is this much smaller on each side.

    Returns
    -------
    uint8 array (height, width, 3) or None
        None if the tile is damaged, cut, or of another size.
    """
    if not data.startswith(SOI) or EOI not in data[-PADDING:]:
        return None
    stream = head + data[len(SOI) :]
    if _frame(stream) != (*size, 3):  # Pillow writes beyond its buffer if it is told a wrong size
        return None
    return _whole(stream, colour) if shrink == 1 else _scaled(stream, colour, size, shrink)


def _whole(stream: bytes, colour: str) -> NDArray[np.uint8] | None:
    """Decode with imagecodecs, a quarter faster than Pillow for whole tiles; it cannot scale."""
    try:
        pixels: NDArray[np.uint8] = imagecodecs.jpeg8_decode(stream, colorspace=colour, outcolorspace="RGB")
    except imagecodecs.Jpeg8Error:
        return None
    return pixels


def _scaled(stream: bytes, colour: str, size: tuple[int, int], shrink: int) -> NDArray[np.uint8] | None:
    """Decode with Pillow, which hands libjpeg-turbo the scale; both let other threads run meanwhile."""
    small = size[0] // shrink, size[1] // shrink
    try:
        return np.asarray(Image.frombytes("RGB", small, stream, "jpeg", "RGB", colour, shrink, 0))
    except ValueError:
        return None


def _frame(stream: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a stream's frame of 8-bit samples; None if it has none."""
    at = len(SOI)
    while at + 9 < len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in FRAMES and stream[at + 4] == 8:
            height, width = (int.from_bytes(stream[at + k : at + k + 2], "big") for k in (5, 7))
            return width, height, stream[at + 9]
        if marker == SCAN or marker in FRAMES:
            return None
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
