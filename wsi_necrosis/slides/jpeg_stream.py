"""What a JPEG stream says of itself: its kind of frame, its sides, and the colour space that it proves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = Literal["RGB", "YCbCr"]

SOI = b"\xff\xd8"
FILL = 0xFF  # may come before a marker, any number of times
SCAN = 0xDA  # marker that pixel data follow
ADOBE = 0xEE  # marker of the segment whose last byte tells the colour space
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # markers of frames of any kind
LOSSLESS = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
IDS_OF_RGB = (82, 71, 66)  # "R", "G", "B"
ADOBE_COLOURS: dict[int, Colour] = {0: "RGB", 1: "YCbCr"}


@dataclass(frozen=True)
class JpegFrame:
    """The head of a JPEG stream.

    Attributes
    ----------
    at : int
        Position of the frame's marker in the stream.
    marker : int
        Kind of the frame; 0xC0 to 0xC2 are baseline, extended and progressive.
    bits : int
        Of a sample.
    width, height : int
        In pixels.
    ids, sampling : tuple of int
        Of the components: their names, and their sampling factors as one byte.
    adobe : int or None
        Colour transform of Adobe's segment, if there is one.
    """

    at: int
    marker: int
    bits: int
    width: int
    height: int
    ids: tuple[int, ...]
    sampling: tuple[int, ...]
    adobe: int | None

    @property
    def proven_colour(self) -> Colour | None:
        """The colour space where the stream leaves no doubt; None where only the file's tag tells it.

        Components of unequal sampling are never RGB. Otherwise names of components and Adobe's segment decide.
        """
        if len(self.ids) != 3:
            return None
        if len(set(self.sampling)) > 1:
            return "YCbCr"
        if self.ids == IDS_OF_RGB:
            return "RGB"
        return None if self.adobe is None else ADOBE_COLOURS.get(self.adobe)

    @property
    def unread(self) -> str | None:
        """Why the decoders here do not read it, in words; None where they do."""
        if self.marker in LOSSLESS:
            return "lossless JPEG"
        return f"{self.bits}-bit JPEG" if self.bits != 8 else None


def frame_of(stream: bytes) -> JpegFrame | None:
    """The frame of a stream that begins with its first marker; None if there is none before its pixels.

    Examples
    --------
    >>> frame_of(b"no JPEG") is None
    True
    """
    at, adobe = len(SOI), None
    while stream.startswith(SOI) and at + 9 < len(stream) and stream[at] == FILL:
        marker = stream[at + 1]
        if marker == FILL:
            at += 1
            continue
        if marker == SCAN:
            return None
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker in FRAMES:
            height, width = (int.from_bytes(stream[at + k : at + k + 2], "big") for k in (5, 7))
            parts = stream[at + 10 : at + 2 + length]
            return JpegFrame(
                at, marker, stream[at + 4], width, height, tuple(parts[::3]), tuple(parts[1::3]), adobe
            )
        if marker == ADOBE and stream[at + 4 : at + 9] == b"Adobe" and length >= 14:
            adobe = stream[at + 15]
        at += 2 + length
    return None
