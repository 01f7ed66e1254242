from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotations import Outline
from wsi_necrosis.dataset.cell_labels import CellLabels, cover, label_cells
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import TileGrid

GRID = TileGrid(Box(100, 50, 40, 30), (1.0, 1.0), Mpp(1, 1), 10, 10, 1)  # 3 rows, 4 columns of 10 px


def area(name: str, left: float, top: float, width: float, height: float) -> Outline:
    return Outline(name, shapely.box(left, top, left + width, top + height))


def label(outlines: Sequence[Outline], min_cover: float = 0.75) -> CellLabels:
    return label_cells(outlines, (100, 50), GRID, min_cover)


def labels(outlines: Sequence[Outline], min_cover: float = 0.75) -> dict[tuple[int, int], str]:
    return dict(label(outlines, min_cover).labels)


def test_cells_are_labelled_where_one_label_covers_enough() -> None:
    assert labels([area("Tumor", 0, 0, 17.5, 10)]) == {(0, 0): "viable", (0, 1): "viable"}
    assert labels([area("Tumor", 0, 0, 17.4, 10)]) == {(0, 0): "viable"}
    assert labels([area("Tumor", 0, 0, 17.4, 10)], 1.0) == {(0, 0): "viable"}
    assert labels([]) == {}


def test_polygons_of_one_label_are_united_whatever_their_names() -> None:
    halves = [area("Stroma", 0, 0, 6, 10), area("Other", 4, 0, 6, 10)]
    assert labels(halves, 1.0) == {(0, 0): "non_tumour"}
    assert labels([area("Tumor", 0, 0, 6, 10)] * 2) == {}  # an overlap counts once


def test_crossing_outlines_have_no_label_in_common() -> None:
    crossing = [area("Tumor", 0, 0, 25, 30), area("Necrosis", 15, 0, 25, 30)]
    found = label(crossing)
    assert {cell for cell, name in found.labels.items() if name == "viable"} == {(row, 0) for row in range(3)}
    assert {cell for cell, name in found.labels.items() if name == "non_viable"} == {
        (row, 3) for row in range(3)
    }
    assert found.disputed == 6  # each of the columns in the middle was claimed by one of the two
    assert labels([area("Tumor", 0, 0, 5, 10), area("Necrosis", 5, 0, 5, 10)], 0.51) == {}
    assert labels([area("Tumor", 0, 0, 30, 30), area("Necrosis", 0, 0, 30, 30)]) == {}


def test_inner_outlines_take_from_outer_ones_in_any_order() -> None:
    outer, inner = area("Necrosis", 0, 0, 30, 30), area("Tumor", 10, 10, 10, 10)
    innermost = area("Stroma", 10, 10, 10, 2)
    for outlines in ([outer, inner, innermost], [innermost, inner, outer]):
        found = label(outlines)
        assert found.labels[1, 1] == "viable"
        assert list(found.labels.values()).count("non_viable") == 8
        assert found.disputed == 0
    island = [area("Tumor", 0, 0, 40, 30), area("Necrosis", 0, 0, 30, 30), area("Tumor", 10, 10, 10, 10)]
    assert labels(island)[1, 1] == labels(island)[0, 3] == "viable"
    assert labels(island)[0, 0] == "non_viable"


def test_an_outline_that_crosses_the_border_a_little_is_inside_all_the_same() -> None:
    poking = label([area("Necrosis", 0, 0, 30, 30), area("Tumor", 20, 10, 10.5, 10)])
    assert poking.labels[1, 2] == "viable"
    assert poking.disputed == 0


def test_an_outline_inside_two_neighbours_of_one_label_takes_from_both() -> None:
    found = label(
        [area("Necrosis", 0, 0, 15, 30), area("Tumor", 10, 10, 10, 10), area("Necrosis", 15, 0, 15, 30)]
    )
    assert found.labels[1, 1] == "viable"
    assert found.disputed == 0


def test_ignored_areas_are_taken_from_all_labels_and_counted() -> None:
    tumour, ignored = area("Tumor", 0, 0, 40, 30), area("Ignore*", 8, 8, 14, 14)
    for outlines in ([tumour, ignored], [ignored, tumour]):
        found = label(outlines)
        assert len(found.labels) == 11
        assert (1, 1) not in found.labels
        assert (found.ignored, found.disputed) == (1, 0)
    assert label([tumour, area("Ignore", -50, -50, 200, 200)]).ignored == 12
    nested = [tumour, area("Necrosis", 10, 10, 10, 10), ignored]
    assert (1, 1) not in labels(nested)
    assert label([ignored]).labels == {}


@given(st.permutations(range(5)))
def test_labels_do_not_depend_on_the_order(order: list[int]) -> None:
    outlines = [
        area("Necrosis", 0, 0, 30, 30), area("Tumor", 5, 5, 20, 20), area("Stroma", 9, 9, 12, 12),
        area("Tumor", 25, 0, 15, 30), area("Ignore*", 0, 20, 10, 10),
    ]  # fmt: skip
    assert label([outlines[at] for at in order]) == label(outlines)


def test_holes_are_not_covered() -> None:
    ring = shapely.box(0, 0, 30, 30).difference(shapely.box(10, 10, 20, 20))
    island = area("viable: non-viable", 10, 10, 10, 10)
    found = labels([Outline("Necrosis", ring), island])
    assert found[1, 1] == "viable: non-viable"
    assert len(found) == 9


BOXES = st.tuples(*[st.floats(80, 150)] * 2, *[st.floats(0.1, 40)] * 2)


@given(st.lists(BOXES, min_size=1, max_size=4))
def test_shares_agree_with_a_fine_raster(boxes: list[tuple[float, ...]]) -> None:
    snapped = [tuple(round(value * 4) / 4 for value in box) for box in boxes]
    union: Any = shapely.union_all([shapely.box(x, y, x + w, y + h) for x, y, w, h in snapped])
    raster = np.zeros((120, 160), bool)  # quarter pixels of the plane
    for x, y, w, h in snapped:
        left, top, right, bottom = (
            max(0, int(4 * value)) for value in (x - 100, y - 50, x + w - 100, y + h - 50)
        )
        raster[top:bottom, left:right] = True
    expected = raster.reshape(3, 40, 4, 40).mean(axis=(1, 3))
    np.testing.assert_allclose(cover(union, GRID), expected, atol=1e-9)


def test_the_names_of_our_own_export_come_back_as_our_classes() -> None:
    for label, name in zip(
        (CellLabel.NON_TUMOUR, CellLabel.NON_VIABLE, CellLabel.VIABLE), CLASSES, strict=True
    ):
        assert labels([area(PALETTE[label].qupath, 0, 0, 10, 10)]) == {(0, 0): name}
