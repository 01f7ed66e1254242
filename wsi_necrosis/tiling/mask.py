"""The tissue mask: a class for each pixel of a slide's plane, at a few micrometres per pixel."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.overview import Overview


class MaskClass(IntEnum):
    """What a mask pixel is; the first of outside, not scanned, unreadable, tissue, speck, glass that applies."""

    GLASS = 0
    TISSUE = 1
    SPECK = 2
    UNREADABLE = 3
    OUTSIDE = 4
    NOT_SCANNED = 5


@dataclass(frozen=True)
class TissueMask:
    """The slide's plane at a few micrometres per pixel, with one class for each pixel.

    Attributes
    ----------
    kind : uint8 array (h, w)
        `MaskClass` of each pixel.
    plane : Box
        The part of level 0 that it covers.
    px_l0 : tuple of int
        Level-0 pixels per mask pixel, (x, y).
    mpp : Mpp
        Size of a mask pixel.
    """

    kind: NDArray[np.uint8]
    plane: Box
    px_l0: tuple[int, int]
    mpp: Mpp

    @property
    def px_mm2(self) -> float:
        """Area of a mask pixel in mm2."""
        return self.mpp.px_mm2

    def area_mm2(self) -> dict[str, float]:
        """Area in mm2 of every class, by its name in lower case; the sum is the plane's."""
        counts = np.bincount(self.kind.ravel(), minlength=len(MaskClass))
        return {kind.name.lower(): int(counts[kind]) * self.px_mm2 for kind in MaskClass}


@dataclass(frozen=True)
class Tissue:
    """A slide's plane: overview and tissue mask on the same pixels, and the picture to draw results on.

    The picture is the overview itself, or a finer one where pictures of the wanted size need it.
    """

    overview: Overview
    mask: TissueMask
    picture: Overview
