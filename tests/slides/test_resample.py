"""Which level pixels count; the averages themselves are tested on whole reads, in test_pyramid.py."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.slides.resample import Span


@given(
    start=st.floats(-50, 50), ratio=st.floats(1, 6), count=st.integers(1, 40),
    edges=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)  # fmt: skip
def test_only_level_pixels_under_a_wanted_pixel_have_weight(start, ratio, count, edges):
    first, stop = sorted(min(edge, count) for edge in edges)
    span = Span.along(start, ratio, count)
    left, right = span.under(first, stop)
    weights = span.weights()[first:stop].toarray()
    outside = np.delete(weights, slice(left - span.first, right - span.first), axis=1)
    assert span.first <= left <= max(left, right) <= span.first + span.length
    assert (outside == 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-5)


def test_a_part_of_a_wanted_pixel_counts_as_all_of_it():
    span = Span.along(10, 4, 5)
    assert span.under(1.5, 2.5) == (14, 22)
    assert span.under(1 - 1e-9, 2 + 1e-9) == (14, 18)
    assert span.under(-3, 99) == (10, 30)
