"""One JPEG tile of a TIFF: decoded, or as a file of its own."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from wsi_necrosis.slides.jpeg_stream import SOI, frame_of

EOI = b"\xff\xd9"
SUPPORTED = frozenset({0xC0, 0xC1, 0xC2})  # markers of frames: baseline, extended, progressive
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
    """Decode a stored tile to RGB; parameters as of `whole_jpeg`.

    As in OpenSlide, a tile counts as damaged as soon as libjpeg warns: the pixels that libjpeg would fill in look
    like tissue or glass.

    Returns
    -------
    uint8 array (height, width, 3) or None
        None if the tile is damaged, truncated, or of another size.
    """
    stream = whole_jpeg(data, head, colour, size)
    if stream is None:
        return None
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stream, "RGB")
    except ValueError:
        return None
    return pixels


def whole_jpeg(data: bytes, head: bytes, colour: str, size: tuple[int, int]) -> bytes | None:
    """A stored tile as a JPEG file of its own, with its tables and its colour space; no pixel is decoded.

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
    bytes or None
        None if its head is damaged, or of another size.
    """
    if not data.startswith(SOI):
        return None
    stream = head + data[len(SOI) :]
    frame = frame_of(stream)
    if frame is None or frame.marker not in SUPPORTED or frame.bits != 8:
        return None
    if (frame.width, frame.height) != size or len(frame.ids) != 3:
        return None
    return stream[: frame.at] + APP14[colour] + stream[frame.at :]
