"""Recognise a picture that was saved anew, resized, turned or mirrored, by a hash of how it looks.

A difference hash (Krawetz N (2013), Kind of like that): whether each pixel of a small grey version is brighter than its
left neighbour. A picture whose field was moved or cropped, or that shows next to nothing, is not recognised.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError

SIDE = 17  # of the small version: 272 bits
CLOSE = 30  # bits: TCIA tiles saved anew (JPEG 60, halved, recoloured) differ in up to 17, two tiles in 52 and more


def look_of(path: Path) -> str:
    """Hash of a picture, 68 hexadecimal digits.

    Raises
    ------
    DatasetError
        The picture cannot be read.
    """
    return np.packbits(_bits(_small(path))).tobytes().hex()


def alike(tiles: Sequence[LabelledTile], looks: Iterable[str]) -> tuple[LabelledTile, ...]:
    """The tiles that look like one of these hashes, as they are or turned or mirrored.

    Raises
    ------
    DatasetError
        A picture cannot be read.
    """
    known = np.array([_unpacked(look) for look in looks], bool)
    if not len(known):
        return ()
    return tuple(tile for tile in tiles if _distance(_small(tile.path), known) <= CLOSE)


def _distance(small: NDArray[np.uint8], known: NDArray[np.bool_]) -> int:
    """Least number of bits that differ from a known hash (n, bits), over the eight turns of a small picture."""
    turns = [np.rot90(each, turn) for each in (small, small[:, ::-1]) for turn in range(4)]
    return min(int((known != _bits(turn)).sum(axis=1).min()) for turn in turns)


def _small(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))
    except (OSError, UnidentifiedImageError):
        raise DatasetError(f"{path} cannot be read as a picture; fetch it again") from None


def _bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return np.asarray((small[:, 1:] > small[:, :-1]).ravel())


def _unpacked(look: str) -> NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(look), np.uint8)).astype(bool)
