"""Decode one JPEG tile of a TIFF."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # markers of the supported frames: baseline, extended, progressive
SCAN = 0xDA  # marker that pixel data follow
FILL = 0xFF  # may come before a marker, any number of times
# Adobe's APP14 segment, whose last byte tells the colour space of the samples.
APP14 = {
    name: b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + code
    for name, code in (("RGB", b"\0"), ("YCbCr", b"\1"))
}


def head_of(tables: bytes | None) -> bytes | None:
    """The start of a tile's JPEG stream, from TIFF's JPEGTables; None if these are malformed."""
    if not tables:
        return SOI
    return tables[: -len(EOI)] if tables.startswith(SOI) and tables.endswith(EOI) else None


def decode_tile(data: bytes, head: bytes, colour: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Decode a stored tile to RGB.

    As in OpenSlide, a tile counts as damaged as soon as libjpeg warns: the pixels that libjpeg would fill in look
    like tissue or glass.

    Parameters
    ----------
    data : bytes
        The tile as it is stored.
    head : bytes
        Replaces its first marker; see `head_of`.
    colour : {"RGB", "YCbCr"}
        Colour space of the samples; overrides what the stream states, except a JFIF marker, which means YCbCr.
    size : tuple of int
        Width and height of the tile.

    Returns
    -------
    uint8 array (height, width, 3) or None
        None if the tile is damaged, truncated, or of another size.
    """
    if not data.startswith(SOI):
        return None
    stream = head + data[len(SOI) :]
    frame = _frame(stream)
    if frame is None or frame[1:] != (*size, 3):
        return None
    at = frame[0]
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stream[:at] + APP14[colour] + stream[at:], "RGB")
    except ValueError:
        return None
    return pixels


def _frame(stream: bytes) -> tuple[int, int, int, int] | None:
    """Place, width, height and components of a stream's frame of 8-bit samples; None if it has none."""
    at = len(SOI)
    while at + 9 < len(stream) and stream[at] == FILL:
        marker = stream[at + 1]
        if marker == FILL:
            at += 1
            continue
        if marker in FRAMES and stream[at + 4] == 8:
            height, width = (int.from_bytes(stream[at + k : at + k + 2], "big") for k in (5, 7))
            return at, width, height, stream[at + 9]
        if marker == SCAN or marker in FRAMES:
            return None
        at += 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
    return None
