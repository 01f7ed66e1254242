"""Wanted pixels as averages of level pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from scipy.sparse import csr_array

BAND_PX = 64  # rows averaged at once, so that floats stay in the processor's cache
DRIFT_PX = 0.05  # level pixels by which a ratio that counts as whole may drift over the whole read
TOLERANCE_PX = 1e-6  # wanted pixels; tolerance for rounding errors of divisions


@dataclass(frozen=True)
class Span:
    """Level pixels along one axis under `count` wanted pixels; `offset` is where the first begins."""

    first: int
    length: int
    offset: float
    ratio: float
    count: int

    @classmethod
    def along(cls, start: float, ratio: float, count: int) -> Span:
        """Span of `count` wanted pixels of `ratio` level pixels each, from level pixel `start` on.

        Where the ratio is whole, wanted pixels begin at the nearest whole level pixel.
        """
        if is_whole(ratio, count):
            whole = max(1, round(ratio))
            return cls(math.floor(start + 0.5), count * whole, 0.0, whole, count)
        first = math.floor(start)
        return cls(first, math.ceil(start + count * ratio) - first, start - first, ratio, count)

    @property
    def whole(self) -> int:
        """The ratio if wanted pixels are whole level pixels, else 0."""
        return int(self.ratio) if self.offset == 0 and self.ratio == int(self.ratio) else 0

    def by_squares(self) -> Span:
        """The same wanted pixels on a level that has them, where the ratio is whole and the first begins at one."""
        return Span(self.first // self.whole, self.count, 0.0, 1, self.count)

    def under(self, start: float, stop: float) -> tuple[int, int]:
        """First and end level pixel under the wanted pixels that [start, stop) touches."""
        begin = min(self.count, max(0, math.floor(start + TOLERANCE_PX)))
        end = min(self.count, max(begin, math.ceil(stop - TOLERANCE_PX)))
        left, right = (self.offset + self.ratio * edge for edge in (begin, end))
        return self.first + math.floor(left), self.first + min(self.length, math.ceil(right))

    def weights(self) -> csr_array:
        """Share of each level pixel (columns) in each wanted pixel (rows); rows sum to 1."""
        from scipy.sparse import csr_array  # slow to import; few slides need it

        edges = self.offset + self.ratio * np.arange(self.count + 1)
        reach = math.ceil(self.ratio) + 1
        columns = np.floor(edges[:-1]).astype(int)[:, None] + np.arange(reach)
        covered = np.minimum(columns + 1, edges[1:, None]) - np.maximum(columns, edges[:-1, None])
        rows = np.broadcast_to(np.arange(self.count)[:, None], columns.shape)
        keep = (covered > 0) & (columns < self.length)
        shares = (covered[keep] / self.ratio).astype(np.float32)
        return csr_array((shares, (rows[keep], columns[keep])), shape=(self.count, self.length))


def is_whole(ratio: float, count: int) -> bool:
    """Whether `count` wanted pixels of `ratio` level pixels can be taken as whole ones."""
    return abs(ratio - max(1, round(ratio))) * count < DRIFT_PX


def average(pixels: NDArray[np.uint8], across: Span, down: Span) -> NDArray[np.uint8]:
    """Mean of level pixels (down.length, across.length, 3) under every wanted pixel."""
    factors = across.whole, down.whole
    if factors == (1, 1):
        return pixels
    if all(factors):
        return np.asarray(Image.fromarray(pixels).reduce(factors))
    flat = pixels.reshape(down.length, -1)
    vertical, horizontal = down.weights(), across.weights()
    mean = np.empty((down.count, across.count, 3), np.uint8)
    for top in range(0, down.count, BAND_PX):
        shares = vertical[top : top + BAND_PX]
        first, last = shares.indices.min(), shares.indices.max() + 1
        rows = shares[:, first:last] @ flat[first:last].astype(np.float32)
        turned = rows.reshape(-1, across.length, 3).transpose(1, 0, 2).reshape(across.length, -1)
        band = np.rint(horizontal @ turned).reshape(across.count, -1, 3)
        mean[top : top + BAND_PX] = band.transpose(1, 0, 2)
    return mean
