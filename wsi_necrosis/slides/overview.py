"""The whole plane of a slide at low resolution."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError, UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.black_fill import black_fill
from wsi_necrosis.slides.slide import Slide
from wsi_necrosis.slides.stored_levels import level_for

READERS = min(8, os.cpu_count() or 1)  # threads; more wait for the disk
MOST_PX = 300_000_000  # the largest slides, 76 x 52 mm, have 247 million at 4 um
PIECE_PX = 2048  # side, in level pixels, of the pieces that an overview is read in


@dataclass(frozen=True)
class Overview:
    """The whole plane of a slide at low resolution.

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
    not_scanned : ndarray of bool, shape (height, width), or None
        Pixels that the file does not store, or that its writer filled with black; they are white in `rgb`. None where
        there are none.
    has_black_fill : bool
        Whether its writer filled with black what was not scanned.
    """

    rgb: NDArray[np.uint8]
    unreadable: NDArray[np.bool_]
    plane: Box
    px_l0: tuple[int, int]
    mpp: Mpp
    not_scanned: NDArray[np.bool_] | None = None
    has_black_fill: bool = False

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Pixels that show nothing of the slide: unreadable, or not scanned."""
        return self.unreadable if self.not_scanned is None else self.unreadable | self.not_scanned


def read_overview(slide: Slide, mpp_um: float | None = None) -> Overview:
    """Read a slide's plane in pixels of about `mpp_um`, piece by piece, several at once.

    Parameters
    ----------
    slide : Slide
        Its pixel size must be known.
    mpp_um : float, optional
        Wanted size of a pixel, by default that of tissue masks (`tissue.mpp_um` of the shipped settings). The
        nearest whole number of level-0 pixels along each axis is taken.

    Raises
    ------
    PixelSizeError
        The slide's pixel size is unknown.
    UsageError
        `mpp_um` is not above 0.
    SlideError
        No pixel can be read.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> with wn.open_slide("small.tiff") as slide:
    ...     wn.read_overview(slide, mpp_um=4.0).rgb.shape
    (125, 125, 3)
    """
    info = slide.info
    mpp_um = load_settings().tissue.mpp_um if mpp_um is None else mpp_um
    if not mpp_um > 0:
        raise UsageError(f"an overview with pixels of {mpp_um} um cannot be made; give a size above 0")
    px_l0 = max(1, round(mpp_um / info.known_mpp.x)), max(1, round(mpp_um / info.known_mpp.y))
    mpp = info.known_mpp.scaled(*px_l0)
    height, width = math.ceil(info.plane.height_l0 / px_l0[1]), math.ceil(info.plane.width_l0 / px_l0[0])
    if height * width > MOST_PX:
        span = f"{width * mpp.x / 1e3:.0f} x {height * mpp.y / 1e3:.0f} mm"
        raise SlideError(
            f"{info.path} spans {span} by its pixel size, more than any slide: its overview would have "
            f"{height * width:,} px, and {MOST_PX:,} are read at most; check --mpp, or "
            "set tissue.mpp_um higher"
        )
    rgb = np.full((height, width, 3), 255, np.uint8)
    unreadable, absent = np.zeros((height, width), bool), np.zeros((height, width), bool)
    pieces = list(_pieces((height, width), px_l0, info.downsamples))
    boxes = [_piece_box(info.plane, px_l0, *piece) for piece in pieces]
    with ThreadPoolExecutor(READERS) as pool:
        for piece, region in zip(pieces, pool.map(slide.read, boxes, repeat(mpp)), strict=True):
            rgb[piece] = region.rgb
            if region.absent is not None:
                absent[piece] = region.absent
            for lost in region.unreadable:
                unreadable[_touched(info.plane, px_l0, lost)] = True
    if unreadable.all():
        raise SlideError(f"{info.path} opens, but not one of its pixels can be decoded; the file is damaged")
    filled = black_fill(rgb, mpp.px_mm2)
    not_scanned = absent if filled is None else absent | filled
    rgb[not_scanned] = 255
    return Overview(
        rgb,
        unreadable,
        info.plane,
        px_l0,
        mpp,
        not_scanned if not_scanned.any() else None,
        filled is not None,
    )


def read_picture(slide: Slide, overview: Overview, side_px: int) -> Overview:
    """A slide's plane in pixels fine enough for a picture of `side_px` on its longer side.

    Where the overview is, it is given back. Pixels are never finer than level 0.

    Parameters
    ----------
    slide : Slide
        Its pixel size must be known.
    overview : Overview
        Of the same slide.
    side_px : int
        Pixels on the longer side of the largest picture.
    """
    plane, mpp = slide.info.plane, slide.info.known_mpp
    finest_um = min(mpp.x, mpp.y)
    wanted_um = max(plane.width_l0 * mpp.x, plane.height_l0 * mpp.y) / side_px
    um = max(1, int(wanted_um / finest_um)) * finest_um
    return overview if um >= min(overview.mpp.x, overview.mpp.y) else read_overview(slide, um)


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
