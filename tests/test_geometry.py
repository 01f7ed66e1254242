import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.geometry import Box, Mpp

lengths = st.integers(-1000, 1000)
sides = st.integers(1, 1000)
boxes = st.builds(Box, lengths, lengths, sides, sides)


@given(boxes, boxes)
def test_intersection_is_symmetric_and_inside_both(one: Box, other: Box) -> None:
    common = one.intersection(other)
    assert common == other.intersection(one)
    if common is None:
        apart_x = one.right_l0 <= other.x_l0 or other.right_l0 <= one.x_l0
        apart_y = one.bottom_l0 <= other.y_l0 or other.bottom_l0 <= one.y_l0
        assert apart_x or apart_y
    else:
        for box in (one, other):
            assert common.intersection(box) == common


def test_touching_boxes_share_nothing() -> None:
    assert Box(0, 0, 10, 10).intersection(Box(10, 0, 10, 10)) is None


def test_areas_use_both_pixel_sizes() -> None:
    assert Box(0, 0, 2000, 1000).area_mm2(Mpp(0.5, 0.25)) == 0.25
    assert Mpp(0.5, 0.25).scaled(8, 16) == Mpp(4.0, 4.0)


def test_mpp_reads_well() -> None:
    assert str(Mpp(0.5, 0.5)) == "0.5"
    assert str(Mpp(0.5, 0.25)) == "0.5 x 0.25"


@pytest.mark.parametrize("given", [0.5, np.float32(0.5), Mpp(0.5, 0.5)])
def test_one_number_means_square_pixels(given: float | Mpp) -> None:
    assert Mpp.of(given) == Mpp(0.5, 0.5)
    assert Mpp.of(None) is None
