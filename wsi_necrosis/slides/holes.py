"""Holes of coarser levels: tiles that a level does not store although level 0 stores what lies there."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.slides.stored_levels import Levels
from wsi_necrosis.slides.window import Window

MOST_FINER_PX = 2048  # side, in pixels of the next finer level, of what is read at once in place of a hole


def next_finer(levels: Levels, level: int) -> int | None:
    """The coarsest stored level that is finer than a level; None where none is."""
    own = levels.downsamples[level]
    return max((at for at in range(levels.stored) if levels.downsamples[at] < own), default=None)


def holes(levels: Levels, level: int, window: Window, absent: NDArray[np.bool_]) -> Iterator[Window]:
    """Parts of a window of a coarser level that may be holes: what is not stored there, tile by tile.

    Parameters
    ----------
    levels : Levels
        Of one file.
    level : int
        Coarser than level 0.
    window : Window
        Pixels of the level, which may overhang it.
    absent : bool array (height, width)
        Pixels of the window that the level, or level 0, does not store.
    """
    finer = next_finer(levels, level)
    if finer is None or not absent.any():
        return
    most = max(1, int(MOST_FINER_PX * levels.downsamples[finer] / levels.downsamples[level]))
    width, height = (min(most, side) for side in levels.tiles[level])
    for part in window.by_tile((width, height)):
        found = absent[part.within(window)]
        if found.any():
            rows, cols = (np.flatnonzero(found.any(axis=axis)).tolist() for axis in (1, 0))
            yield Window(
                part.left + cols[0], part.top + rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1
            )


def level_0_stores(levels: Levels, level: int, hole: Window, absent: NDArray[np.bool_]) -> bool | None:
    """Whether level 0 stores the middle of what one of its tiles has in a hole; None where it cannot be decoded."""
    scale = levels.downsamples[level]
    edges = [int(edge * scale) for edge in (hole.left, hole.top, hole.right, hole.bottom)]
    under = Window(edges[0], edges[1], edges[2] - edges[0], edges[3] - edges[1]).clipped(levels.sizes[0])
    pixel, lacks = np.empty((1, 1, 3), np.uint8), np.empty((1, 1), bool)
    for part in () if under is None else under.by_tile(levels.tiles[0]):
        x, y = part.left + part.width // 2, part.top + part.height // 2
        row = min(int((y + 0.5) / scale) - hole.top, hole.height - 1)
        col = min(int((x + 0.5) / scale) - hole.left, hole.width - 1)
        if absent[row, col]:
            lacks[:] = False
            if levels.fetch(0, Window(x, y, 1, 1), pixel, lacks) is None:
                return None
            if not lacks[0, 0]:
                return True
    return False
