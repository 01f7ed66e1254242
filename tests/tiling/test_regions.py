from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.tiling.grid import PixelCount, TileGrid, cell_pixels
from wsi_necrosis.tiling.mask import MaskClass, TissueMask
from wsi_necrosis.tiling.regions import Region, Regions, inside, with_regions

MASK = TissueMask(np.zeros((30, 40), np.uint8), Box(100, 60, 320, 120), (8, 4), Mpp(4.0, 4.0))

points = st.tuples(st.floats(-40, 360, width=32), st.floats(-40, 160, width=32)).map(
    lambda at: (round(at[0], 3), round(at[1], 3))
)


@given(st.lists(points, min_size=3, max_size=7))
def test_a_pixel_is_inside_where_its_centre_is(corners: list[tuple[float, float]]) -> None:
    polygon = shapely.make_valid(shapely.Polygon(corners), method="structure", keep_collapsed=False)
    rows, cols = np.indices(MASK.kind.shape)
    centres = shapely.points((cols + 0.5) * 8, (rows + 0.5) * 4)
    on_the_line = shapely.distance(shapely.boundary(polygon), centres) < 1e-6
    expected = shapely.contains_properly(polygon, centres)
    assert (inside(polygon, MASK) == expected)[~on_the_line].all()


def test_a_hole_is_outside_and_pieces_are_inside() -> None:
    ring = shapely.box(0, 0, 160, 80).difference(shapely.box(40, 20, 80, 40))
    both = shapely.union_all([ring, shapely.box(240, 0, 280, 80)])
    found = inside(both, MASK)
    assert found.sum() * 32 == both.area
    assert not found[5:10, 5:10].any()
    assert found[0:20, 30:35].all()


regions = st.builds(
    lambda roi, tissue: Regions(
        *(None if box is None else Region(shapely.box(*box)) for box in (roi, tissue))
    ),
    *[st.none() | st.tuples(st.floats(0, 150), st.floats(0, 50), st.floats(151, 330), st.floats(51, 130))]
    * 2,
)


@given(regions, st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_every_pixel_counts_once_under_any_outlines(given_: Regions, seed: int, stride: int) -> None:
    kind = np.random.default_rng(seed).choice([0, 1, 2, 3, 5], MASK.kind.shape).astype(np.uint8)
    mask = replace(MASK, kind=kind)
    found = with_regions(mask, given_)
    grid = TileGrid(MASK.plane, (1.0, 1.0), Mpp(0.5, 1.0), stride, stride, 8)
    assert cell_pixels(grid, found).sum() == kind.size
    within = np.ones(kind.shape, bool) if given_.roi is None else inside(given_.roi.polygon, mask)
    assert ((found.kind == MaskClass.OUTSIDE) == ~within).all()
    lost = np.isin(kind, (MaskClass.UNREADABLE, MaskClass.NOT_SCANNED))
    assert (found.kind[within & lost] == kind[within & lost]).all()
    if given_.tissue is not None:
        drawn = inside(given_.tissue.polygon, mask) & within & ~lost
        assert ((found.kind == MaskClass.TISSUE) == drawn).all()
    counts = cell_pixels(grid, found).reshape(-1, 5).sum(axis=0)
    assert counts[PixelCount.OUTSIDE_REGION] == (~within).sum()


def test_the_digest_is_of_the_area() -> None:
    one = Region(shapely.Polygon([(0, 0), (9, 0), (9, 9), (0, 9)]))
    same = Region(shapely.Polygon([(9, 9), (9, 0), (0, 0), (0, 9)]))
    assert one.digest == same.digest != Region(shapely.box(0, 0, 9, 8)).digest
    assert Regions(roi=one).facts == {"roi": one.digest}
    assert Regions().facts == {}


@pytest.mark.parametrize("name", ["roi", "tissue"])
def test_nothing_is_changed_without_outlines(name: str) -> None:
    assert (with_regions(MASK, Regions()).kind == MASK.kind).all()
    whole = Regions(**{name: Region(shapely.box(-1, -1, 999, 999))})
    expected = MaskClass.GLASS if name == "roi" else MaskClass.TISSUE
    assert (with_regions(MASK, whole).kind == expected).all()
