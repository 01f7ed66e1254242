"""Decode one JPEG tile of a TIFF."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
FRAMES = frozenset({0xC0, 0xC1, 0xC2})  # markers of the frames that are read: baseline, extended, progressive
SCAN = 0xDA  # marker after which there are pixels
FILL = 0xFF  # may come before a marker, any number of times
# Adobe's marker, which ends with what the samples are.
SAMPLES = {
    name: b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + code
    for name, code in (("RGB", b"\0"), ("YCbCr", b"\1"))
}


def head_of(tables: bytes | None) -> bytes | None:
    """Give what a tile's stream begins with, from TIFF's JPEGTables; None if these are no tables."""
    if not tables:
        return SOI
    return tables[: -len(EOI)] if tables.startswith(SOI) and tables.endswith(EOI) else None


def decode_tile(data: bytes, head: bytes, colour: str, size: tuple[int, int]) -> NDArray[np.uint8] | None:
    """Decode a stored tile to RGB.

    As with OpenSlide, a tile is damaged as soon as libjpeg warns: what it would give instead of the pixels that are
    lost looks like tissue or glass.

    Parameters
    ----------
    data : bytes
        The tile as it is stored.
    head : bytes
        What comes before it in the place of its first marker; see `head_of`.
    colour : {"RGB", "YCbCr"}
        What the samples are, whatever the stream says of itself (but a JFIF marker, which stands for YCbCr).
    size : tuple of int
        Width and height of the tile.

    Returns
    -------
    uint8 array (height, width, 3) or None
        None if the tile is damaged, cut, or of another size.
    """
    if not data.startswith(SOI):
        return None
    stream = head + data[len(SOI) :]
    frame = _frame(stream)
    if frame is None or frame[1:] != (*size, 3):
        return None
    at = frame[0]
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(stream[:at] + SAMPLES[colour] + stream[at:], "RGB")
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
