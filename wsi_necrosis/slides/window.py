"""Windows of whole level pixels, and the stored tiles that they touch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Window(NamedTuple):
    """Whole pixels of a level."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """The first column that is outside."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """The first row that is outside."""
        return self.top + self.height

    def clipped(self, size: tuple[int, int]) -> Window | None:
        """Keep the part inside a level of (width, height); None if nothing is."""
        return self.intersection(Window(0, 0, *size))

    def intersection(self, other: Window) -> Window | None:
        """The common part; None where there is none."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        width, height = min(self.right, other.right) - left, min(self.bottom, other.bottom) - top
        return Window(left, top, width, height) if width > 0 and height > 0 else None

    def within(self, outer: Window) -> tuple[slice, slice]:
        """Rows and columns of its pixels in an array that holds `outer`."""
        left, top = self.left - outer.left, self.top - outer.top
        return slice(top, top + self.height), slice(left, left + self.width)

    def count_tiles(self, tile: tuple[int, int]) -> int:
        """Number of stored tiles that the window touches."""
        cols = -(-self.right // tile[0]) - self.left // tile[0]
        rows = -(-self.bottom // tile[1]) - self.top // tile[1]
        return cols * rows

    def by_tile(self, tile: tuple[int, int]) -> Iterator[Window]:
        """Parts of the window, one per stored tile, row by row."""
        for row in range(self.top // tile[1] * tile[1], self.bottom, tile[1]):
            for col in range(self.left // tile[0] * tile[0], self.right, tile[0]):
                left, top = max(self.left, col), max(self.top, row)
                width, height = min(self.right, col + tile[0]) - left, min(self.bottom, row + tile[1]) - top
                yield Window(left, top, width, height)

    def halves(self, tile: tuple[int, int]) -> tuple[Window, ...]:
        """Two parts that meet at a stored tile's edge; none if the window lies in one tile."""
        left, top, width, height = self
        first_col, first_row = left // tile[0], top // tile[1]
        cols = (self.right - 1) // tile[0] - first_col + 1
        rows = (self.bottom - 1) // tile[1] - first_row + 1
        if max(cols, rows) == 1:
            return ()
        if cols >= rows:
            cut = (first_col + cols // 2) * tile[0] - left
            return Window(left, top, cut, height), Window(left + cut, top, width - cut, height)
        cut = (first_row + rows // 2) * tile[1] - top
        return Window(left, top, width, cut), Window(left, top + cut, width, height - cut)


def mark_unstored(
    absent: NDArray[np.bool_],
    window: Window,
    scale: float,
    tile: tuple[int, int],
    unstored: NDArray[np.bool_],
) -> None:
    """Set the pixels of a window that lie in tiles which are not stored.

    Parameters
    ----------
    absent : bool array (height, width)
        One for each pixel of the window.
    window : Window
        Pixels of any level.
    scale : float
        Pixels of the level of the tiles for each of these.
    tile : tuple of int
        Sides (width, height) of a tile.
    unstored : bool array (rows, cols)
        The tiles that are not stored.
    """
    rows, cols = (
        np.minimum(((np.arange(start, stop) + 0.5) * scale / side).astype(int), most - 1)
        for start, stop, side, most in (
            (window.top, window.bottom, tile[1], unstored.shape[0]),
            (window.left, window.right, tile[0], unstored.shape[1]),
        )
    )
    absent |= unstored[np.ix_(rows, cols)]


class TileSet:
    """The stored tiles of a level that some needed pixels touch.

    Parameters
    ----------
    tile : tuple of int
        Sides (width, height) of a stored tile.
    inside : Window
        Pixels of the level that may be read.
    needed : iterable of Window
        Pixels that are needed; what lies outside `inside` is ignored.
    """

    def __init__(self, tile: tuple[int, int], inside: Window, needed: Iterable[Window]) -> None:
        self._tile, self._inside = tile, inside
        self._first = inside.left // tile[0], inside.top // tile[1]
        cols, rows = self._span(inside)
        self._touched: NDArray[np.bool_] = np.zeros((rows.stop, cols.stop), bool)
        for part in filter(None, (window.intersection(inside) for window in needed)):
            cols, rows = self._span(part)
            self._touched[rows, cols] = True

    @property
    def covers(self) -> bool:
        """Whether every tile of the window is needed."""
        return bool(self._touched.all())

    def rectangles(self) -> list[Window]:
        """Few windows of whole stored tiles, cut at `inside`, that hold these tiles and no other."""
        open_runs: dict[tuple[int, int], int] = {}  # first and end column -> first row
        found: list[Window] = []
        for row, touched in enumerate([*self._touched, np.zeros(self._touched.shape[1], bool)]):
            runs = _runs(touched)
            ended = [run for run in open_runs if run not in runs]
            found += [self._window(run, open_runs.pop(run), row) for run in ended]
            for run in runs:
                open_runs.setdefault(run, row)
        return found

    def _span(self, window: Window) -> tuple[slice, slice]:
        """Columns and rows of the tiles that a window touches, counted from the first of `inside`."""
        starts = window.left // self._tile[0], window.top // self._tile[1]
        stops = -(-window.right // self._tile[0]), -(-window.bottom // self._tile[1])
        cols, rows = (
            slice(start - first, stop - first)
            for start, stop, first in zip(starts, stops, self._first, strict=True)
        )
        return cols, rows

    def _window(self, cols: tuple[int, int], first_row: int, end_row: int) -> Window:
        (width, height), (first_col, top_row) = self._tile, self._first
        left, top = (first_col + cols[0]) * width, (top_row + first_row) * height
        tiles = Window(left, top, (cols[1] - cols[0]) * width, (end_row - first_row) * height)
        return tiles.intersection(self._inside) or tiles


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and end index of every run of True."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]])))
    return list(zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True))
