"""Fingerprint of a slide's content, quick for files of any size."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from wsi_necrosis.errors import ReadError

PIECES = 64
PIECE_BYTES = 2**16
FINGERPRINT_HEX = 32
TIFF_HEADS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
TIFF_TYPE_BYTES = dict.fromkeys((1, 2, 6, 7), 1) | dict.fromkeys((3, 8), 2) | dict.fromkeys((4, 9, 11, 13), 4)
TIFF_TYPE_BYTES |= dict.fromkeys((5, 10, 12, 16, 17, 18), 8)
SUB_IFDS = 330  # TIFF tag of the offsets of further directories
# Offsets in damaged files, and in NDPI files beyond 4 GiB, may point anywhere; these limits bound what is read.
MOST_ENTRIES = 1_000  # in a directory
MOST_VALUE_BYTES = 2**20  # of one tag; enough for the tile offsets of 131,000 tiles
MOST_BYTES = 2**26  # of all directories and values


def slide_fingerprint(files: Sequence[Path]) -> str:
    """Fingerprint of a slide's content, quick for files of any size.

    It covers of each file the size, the TIFF directories with their values if it is a TIFF, and 64 evenly
    spaced pieces of 64 KiB; a file of up to 4 MiB is covered in full. It does not cover names, paths and
    dates, so that a copy has the same fingerprint. A change outside directories and pieces is not noticed.

    Parameters
    ----------
    files : sequence of Path
        Every file of the slide, in any order.

    Returns
    -------
    str
        32 hexadecimal digits (the start of a SHA-256).

    Raises
    ------
    ReadError
        A file is missing or cannot be read.
    """
    try:
        digests = sorted(_file_digest(file) for file in files)
    except OSError as error:
        raise ReadError(
            f"{error.filename or files[0]} cannot be read ({error.strerror}); try again"
        ) from error
    return hashlib.sha256(b"".join(digests)).hexdigest()[:FINGERPRINT_HEX]


def _file_digest(path: Path) -> bytes:
    size = path.stat().st_size
    digest = hashlib.sha256(struct.pack("<Q", size))
    with path.open("rb") as stream:
        if size <= PIECES * PIECE_BYTES:
            digest.update(stream.read())
            return digest.digest()
        for part in _directories(stream):
            digest.update(part)
        for piece in range(PIECES):
            stream.seek((size - PIECE_BYTES) * piece // (PIECES - 1))
            digest.update(stream.read(PIECE_BYTES))
    return digest.digest()


def _directories(stream: BinaryIO) -> Iterator[bytes]:
    """Raw bytes of every TIFF directory, and of the values that its tags point to; none if no TIFF.

    Offsets beyond 4 GiB, which a classic NDPI cannot hold, lead to wrong bytes of the file, but always
    to the same ones.
    """
    order, big = TIFF_HEADS.get(stream.read(4), ("", False))
    if not order:
        return
    offset, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    stream.seek(8 if big else 4)
    pending = [_number(stream, order + offset)]
    seen = {0}
    budget = MOST_BYTES
    while pending and budget > 0:
        start = pending.pop()
        if start in seen:
            continue
        seen.add(start)
        _seek(stream, start)
        length = min(_number(stream, order + count), MOST_ENTRIES) * struct.calcsize(order + entry)
        entries = stream.read(length)
        pending.append(_number(stream, order + offset))
        yield entries
        whole = len(entries) - len(entries) % struct.calcsize(order + entry)
        for tag, kind, values, field in struct.iter_unpack(order + entry, entries[:whole]):
            value = _tag_value(stream, order + offset, (kind, values, field))
            yield value
            budget -= len(value) + len(field)
            if tag == SUB_IFDS:
                pending += _offsets(value, order, 8 if kind in {16, 18} else 4)


def _seek(stream: BinaryIO, position: int) -> None:
    """Go to a position that a file states, at most to its end."""
    end = stream.seek(0, os.SEEK_END)
    stream.seek(min(position, end))


def _number(stream: BinaryIO, kind: str) -> int:
    """Next number of the file; 0 at its end."""
    raw = stream.read(struct.calcsize(kind))
    return int(struct.unpack(kind, raw)[0]) if len(raw) == struct.calcsize(kind) else 0


def _tag_value(stream: BinaryIO, offset: str, entry: tuple[int, int, bytes]) -> bytes:
    """Value of a directory entry (type, count, field), which holds it or points to it."""
    kind, values, field = entry
    length = values * TIFF_TYPE_BYTES.get(kind, 0)
    if length <= len(field):
        return field[:length]
    _seek(stream, int(struct.unpack(offset, field)[0]))
    return stream.read(min(length, MOST_VALUE_BYTES))


def _offsets(value: bytes, order: str, width: int) -> list[int]:
    whole = value[: len(value) - len(value) % width]
    return [found for (found,) in struct.iter_unpack(order + ("Q" if width == 8 else "I"), whole)]
