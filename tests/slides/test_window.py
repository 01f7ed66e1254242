from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.slides.window import TileSet, Window

WINDOWS = st.builds(Window, st.integers(0, 99), st.integers(0, 99), st.integers(1, 99), st.integers(1, 99))
TILES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def painted(windows: list[Window]) -> np.ndarray:
    """How often each pixel of a plane is covered."""
    plane = np.zeros((200, 200), int)
    for window in windows:
        plane[window.within(Window(0, 0, 200, 200))] += 1
    return plane


@given(window=WINDOWS, tile=TILES)
def test_halves_partition_a_window_at_tile_edges(window, tile):
    pending, covered = [window], np.zeros((200, 200), int)
    while pending:
        part = pending.pop()
        halves = part.halves(tile)
        pending += halves
        if not halves:
            left, top, width, height = part
            covered[top : top + height, left : left + width] += 1
            assert left // tile[0] == (left + width - 1) // tile[0]
            assert top // tile[1] == (top + height - 1) // tile[1]
    inside = covered[window.top : window.top + window.height, window.left : window.left + window.width]
    assert (inside == 1).all()
    assert covered.sum() == window.width * window.height


@given(window=WINDOWS, tile=TILES)
def test_parts_by_tile_partition_a_window(window, tile):
    parts = list(window.by_tile(tile))
    np.testing.assert_array_equal(painted(parts), painted([window]))
    assert len(parts) == len({(part.left // tile[0], part.top // tile[1]) for part in parts})
    assert len(parts) == window.count_tiles(tile)


@given(inside=WINDOWS, tile=TILES, needed=st.lists(WINDOWS, max_size=5))
def test_rectangles_are_the_touched_tiles_and_no_other(inside, tile, needed):
    """A tile is in if one of its pixels is needed; compared pixel by pixel."""
    found = TileSet(tile, inside, needed)
    wanted = (painted(needed) > 0) & (painted([inside]) > 0)
    rows, cols = np.nonzero(wanted)
    touched = set(zip((rows // tile[1]).tolist(), (cols // tile[0]).tolist(), strict=True))
    expected = painted([
        part for part in inside.by_tile(tile) if (part.top // tile[1], part.left // tile[0]) in touched
    ])  # fmt: skip
    np.testing.assert_array_equal(painted(found.rectangles()), expected)
    assert found.covers == (expected == painted([inside])).all()


def test_tiles_that_form_a_rectangle_are_read_at_once():
    everything = Window(5, 5, 90, 70)
    assert TileSet((16, 8), everything, [everything]).rectangles() == [everything]
    steps = [Window(0, 0, 32, 8), Window(0, 8, 32, 8), Window(16, 16, 32, 8)]
    assert sorted(TileSet((16, 8), Window(0, 0, 64, 64), steps).rectangles()) == [
        Window(0, 0, 32, 16),
        Window(16, 16, 32, 8),
    ]
