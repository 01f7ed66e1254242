"""What a reader gives: the stored levels of a file, and regions read from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.window import Window

WHITE = (255, 255, 255)
LEVEL_TOLERANCE = 1e-3  # a level this much coarser than asked still counts as fine enough


@dataclass(frozen=True)
class Region:
    """What a read gives.

    Attributes
    ----------
    rgb : ndarray of uint8, shape (height, width, 3)
        Pixels at the size that was asked for; white outside the slide and where nothing was decoded.
    unreadable : tuple of Box
        Level-0 boxes inside the request that could not be decoded. Their white pixels are unknown,
        not glass.
    decoded_l0 : float
        Area in level-0 pixels of the stored tiles that were decoded, each counted in full.
    absent : ndarray of bool, shape (height, width), or None
        Pixels of which the file does not store the larger part; they are white, and not glass. None where it
        stores all.
    """

    rgb: NDArray[np.uint8]
    unreadable: tuple[Box, ...]
    decoded_l0: float = 0.0
    absent: NDArray[np.bool_] | None = None


class Levels(Protocol):
    """A file's levels; sizes and tiles are (width, height) in level pixels.

    The first `stored` ones lie in the file, finest first. Those that follow are means of squares of their
    pixels, in the same order. They are used only where the wanted pixels are exactly these means, so that
    the pixels of a read do not depend on them. `is_sparse` says whether a level may lack some of its tiles.
    """

    is_sparse: bool
    sizes: tuple[tuple[int, int], ...]
    downsamples: tuple[float, ...]
    tiles: tuple[tuple[int, int], ...]
    stored: int

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window inside the level to RGB (height, width, 3), on white.

        Pixels that the file does not store are white, and set in `absent` (height, width) where it is given.
        Returns the number of stored tiles decoded. None if one fails: later calls may then fail too, and
        `out` may hold anything. A pixel does not depend on the window that it is fetched with.

        Raises
        ------
        ReadError
            The system failed to read the file, or it is too short.
        """
        ...

    def reopened(self) -> Self:
        """Open the same file again; raises SlideError or OSError."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


@runtime_checkable
class JpegTiles(Protocol):
    """Levels that may lie in the file as JPEG tiles, which can be shown without being decoded here.

    `jpeg_tiles` has the width and height of each stored level's tiles, None where they are no JPEG.
    """

    jpeg_tiles: tuple[tuple[int, int] | None, ...]

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A tile of such a level as a JPEG file; None where it is not stored, or damaged.

        It has the size of its level's tiles, also where it overhangs the level: its pixels there mean nothing.

        Raises
        ------
        ReadError
            The system failed to read the file, or it is too short.
        """
        ...


def level_for(downsamples: tuple[float, ...], px_l0: tuple[float, float]) -> int:
    """Index of the coarsest level whose pixels are not larger than `px_l0` along either axis."""
    limit = min(px_l0) * (1 + LEVEL_TOLERANCE)
    return max((index for index, scale in enumerate(downsamples) if scale <= limit), default=0)


def nominal_downsample(size_l0: tuple[int, int], size: tuple[int, int], stated: float) -> float:
    """Level-0 pixels per level pixel.

    Writers reduce by a whole number and cut or fill the last pixel, so that a ratio of sizes such as
    2.0005 means 2. `stated` is kept where no whole number explains both sides.
    """
    whole = max(1, round(stated))
    explained = all(abs(full / whole - part) < 1 for full, part in zip(size_l0, size, strict=True))
    return float(whole) if explained else stated


def plain_downsample(size_l0: tuple[int, int], size: tuple[int, int]) -> float:
    """Level-0 pixels per level pixel by the sizes alone: the mean of both sides' ratios, or the whole number meant."""
    return nominal_downsample(size_l0, size, (size_l0[0] / size[0] + size_l0[1] / size[1]) / 2)


def on_white(pixels: Image.Image) -> Image.Image:
    """Lay transparent pixels on white; RGB stays as it is."""
    if pixels.mode == "RGB":
        return pixels
    if pixels.getchannel("A").getextrema() == (255, 255):
        return pixels.convert("RGB")
    canvas = Image.new("RGB", pixels.size, WHITE)
    canvas.paste(pixels, mask=pixels)
    return canvas
