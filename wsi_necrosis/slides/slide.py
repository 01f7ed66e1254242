"""Open a slide and read its pixels at a resolution; one doorway for every format."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo, check_given_mpp
from wsi_necrosis.slides.jpeg_tiff_reader import open_jpeg_tiff
from wsi_necrosis.slides.ome_tiff_reader import is_ome_tiff, open_ome_tiff
from wsi_necrosis.slides.openslide_reader import existing_file, open_openslide
from wsi_necrosis.slides.pyramid import Levels, Pyramid, Region, level_for

__all__ = ["Overview", "Region", "Slide", "SlideInfo", "open_slide", "read_overview"]

READERS = min(8, os.cpu_count() or 1)  # threads; more wait for the disk
PIECE_PX = 2048  # side, in level pixels, of the pieces that an overview is read in


class Slide(Protocol):
    """An open slide; may be read from several threads."""

    info: SlideInfo

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        """Pixels of size `mpp`, averaged, from the top-left corner of `box`; white beyond the slide.

        The result has round(box.height_l0 * info.mpp.y / mpp.y) rows, and columns likewise. Where
        `needed` is given, stored tiles that meet none of these boxes are not decoded and stay white.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(frozen=True)
class Overview:
    """The whole plane, small.

    Attributes
    ----------
    rgb : ndarray of uint8, shape (height, width, 3)
        Its last row and column may overhang the plane.
    unreadable : ndarray of bool, shape (height, width)
        Pixels of which some part could not be decoded.
    plane : Box
        The slide's plane; pixel (0, 0) starts at its top-left corner.
    px_l0 : tuple of int
        Level-0 pixels (x, y) per pixel.
    mpp : Mpp
        Size of a pixel.
    """

    rgb: NDArray[np.uint8]
    unreadable: NDArray[np.bool_]
    plane: Box
    px_l0: tuple[int, int]
    mpp: Mpp


def open_slide(path: Path, mpp: Mpp | None = None, reader: str | None = None) -> Slide:
    """Open a slide of any format that OpenSlide reads, or an OME-TIFF.

    Parameters
    ----------
    path : Path
        A file; any one file of a DICOM series; or a folder that holds one DICOM series and no other.
    mpp : Mpp, optional
        Pixel size of level 0, instead of what the file states.
    reader : {"jpeg-tiff", "openslide", "tiatoolbox"}, optional
        Read with this one or fail; by default the file alone decides which.

    Raises
    ------
    SlideError
        There is no such file, it is no slide that can be read, or `reader` does not read it.
    PixelSizeError
        `mpp` is implausible.
    MissingExtraError
        An OME-TIFF, and tiatoolbox is not installed.
    """
    check_given_mpp(mpp)
    file = existing_file(Path(path))
    info, levels = _opened(file, mpp, reader)
    if reader not in {None, info.reader}:
        levels.close()
        raise SlideError(f"{path} cannot be read with {reader}; leave the choice to the file: {info.reader}")
    return _PyramidSlide(info, levels)


def _opened(file: Path, mpp: Mpp | None, reader: str | None) -> tuple[SlideInfo, Levels]:
    if is_ome_tiff(file):
        return open_ome_tiff(file, mpp)
    info, levels = open_openslide(file, mpp)
    fast = None if reader == info.reader else open_jpeg_tiff(info, levels)
    if fast is None:
        return info, levels
    levels.close()
    return replace(info, reader="jpeg-tiff"), fast


def read_overview(slide: Slide, mpp_um: float) -> Overview:
    """Read a slide's plane in pixels of about `mpp_um`, piece by piece, several at once.

    Parameters
    ----------
    slide : Slide
        Its pixel size must be known.
    mpp_um : float
        Wanted size of a pixel; the nearest whole number of level-0 pixels along each axis is taken.

    Raises
    ------
    PixelSizeError
        The slide's pixel size is unknown.
    SlideError
        Not one pixel can be read.
    """
    info = slide.info
    px_l0 = max(1, round(mpp_um / info.known_mpp.x)), max(1, round(mpp_um / info.known_mpp.y))
    mpp = info.known_mpp.scaled(*px_l0)
    height, width = math.ceil(info.plane.height_l0 / px_l0[1]), math.ceil(info.plane.width_l0 / px_l0[0])
    rgb = np.full((height, width, 3), 255, np.uint8)
    unreadable = np.zeros((height, width), bool)
    pieces = list(_pieces((height, width), px_l0, info.downsamples))
    boxes = [_piece_box(info.plane, px_l0, *piece) for piece in pieces]
    with ThreadPoolExecutor(READERS) as pool:
        for piece, region in zip(pieces, pool.map(slide.read, boxes, repeat(mpp)), strict=True):
            rgb[piece] = region.rgb
            for lost in region.unreadable:
                unreadable[_touched(info.plane, px_l0, lost)] = True
    if unreadable.all():
        raise SlideError(f"{info.path} opens, but not one of its pixels can be decoded; the file is damaged")
    return Overview(rgb, unreadable, info.plane, px_l0, mpp)


def _pieces(
    shape: tuple[int, int], px_l0: tuple[int, int], downsamples: tuple[float, ...]
) -> Iterator[tuple[slice, slice]]:
    """Cut an overview so that no piece needs more than PIECE_PX level pixels on a side."""
    scale = downsamples[level_for(downsamples, (float(px_l0[0]), float(px_l0[1])))]
    across, down = (max(1, int(PIECE_PX * scale / length)) for length in px_l0)
    for top in range(0, shape[0], down):
        for left in range(0, shape[1], across):
            yield slice(top, min(shape[0], top + down)), slice(left, min(shape[1], left + across))


def _piece_box(plane: Box, px_l0: tuple[int, int], rows: slice, cols: slice) -> Box:
    x, y = px_l0
    return Box(
        plane.x_l0 + cols.start * x,
        plane.y_l0 + rows.start * y,
        (cols.stop - cols.start) * x,
        (rows.stop - rows.start) * y,
    )


def _touched(plane: Box, px_l0: tuple[int, int], box: Box) -> tuple[slice, slice]:
    """Overview pixels (rows, columns) of which `box` covers some part."""
    left, right = ((edge - plane.x_l0) / px_l0[0] for edge in (box.x_l0, box.right_l0))
    top, bottom = ((edge - plane.y_l0) / px_l0[1] for edge in (box.y_l0, box.bottom_l0))
    return slice(math.floor(top), math.ceil(bottom)), slice(math.floor(left), math.ceil(right))


class _PyramidSlide:
    """A slide whose pixels come from stored levels."""

    def __init__(self, info: SlideInfo, levels: Levels) -> None:
        self.info = info
        self._pyramid = Pyramid(levels)

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        own = self.info.known_mpp
        px_l0 = mpp.x / own.x, mpp.y / own.y
        shape = max(1, round(box.height_l0 / px_l0[1])), max(1, round(box.width_l0 / px_l0[0]))
        return self._pyramid.read(box, px_l0, shape, needed)

    def close(self) -> None:
        self._pyramid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
