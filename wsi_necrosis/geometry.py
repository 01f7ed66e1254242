"""Boxes, pixel sizes and areas; the unit is in every name.

Suffixes: `_l0` level-0 pixels, `_px` pixels at the working mpp, `_um` micrometres, `_mm2` areas,
`_cell` grid cells. Pairs are (x, y); arrays are indexed [row, col], that is [y, x].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import SupportsFloat


@dataclass(frozen=True)
class Mpp:
    """Size of a pixel in micrometres, along x and along y."""

    x: float
    y: float

    @classmethod
    def of(cls, given: SupportsFloat | Mpp | None) -> Mpp | None:
        """Square pixels where one number is given; a pair, or None, as it is."""
        return given if given is None or isinstance(given, Mpp) else cls(float(given), float(given))

    @property
    def px_mm2(self) -> float:
        """Area of one pixel in mm2."""
        return self.x * self.y / 1e6

    @property
    def side(self) -> float:
        """Side in um of a square pixel of the same area."""
        return math.sqrt(self.x * self.y)

    def scaled(self, x: float, y: float) -> Mpp:
        """Size of a pixel that spans `x` by `y` of these."""
        return Mpp(self.x * x, self.y * y)

    def __str__(self) -> str:
        return f"{self.x:.4g}" if self.x == self.y else f"{self.x:.4g} x {self.y:.4g}"


@dataclass(frozen=True)
class Box:
    """Axis-parallel rectangle in level-0 pixels; its edges may be fractional.

    Level 0 spans (0, 0) to (width, height) of the slide; pixel i covers [i, i + 1).
    """

    x_l0: float
    y_l0: float
    width_l0: float
    height_l0: float

    @property
    def right_l0(self) -> float:
        """Where it ends along x; this column is outside."""
        return self.x_l0 + self.width_l0

    @property
    def bottom_l0(self) -> float:
        """Where it ends along y; this row is outside."""
        return self.y_l0 + self.height_l0

    @property
    def area_l0(self) -> float:
        """Area in level-0 pixels."""
        return self.width_l0 * self.height_l0

    def intersection(self, other: Box) -> Box | None:
        """The common part, or None where there is none (touching edges share nothing)."""
        left, top = max(self.x_l0, other.x_l0), max(self.y_l0, other.y_l0)
        width = min(self.right_l0, other.right_l0) - left
        height = min(self.bottom_l0, other.bottom_l0) - top
        return Box(left, top, width, height) if width > 0 and height > 0 else None

    def area_mm2(self, mpp: Mpp) -> float:
        """Area in mm2 on a slide whose level-0 pixels have size `mpp`."""
        return self.area_l0 * mpp.px_mm2
