"""Decode one JPEG tile of a TIFF."""

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
    frame = frame_of(stream)
    if frame is None or frame.marker not in SUPPORTED or frame.bits != 8:
        return None
    if (frame.width, frame.height) != size or len(frame.ids) != 3:
        return None
    at = frame.at
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stream[:at] + APP14[colour] + stream[at:], "RGB")
    except ValueError:
        return None
    return pixels
