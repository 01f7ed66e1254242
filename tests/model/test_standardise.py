from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsi_necrosis.model.standardise import Standardiser

values = st.floats(-1e6, 1e6, allow_nan=False)


@given(arrays(np.float64, st.tuples(st.integers(2, 20), st.just(3)), elements=values))
def test_standard_scores_are_finite_and_clipped(features: np.ndarray) -> None:
    standardise = Standardiser.fit(features, ("a", "b", "c"), clip=5.0, guard=1e-6)
    z = standardise.apply(features)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= 5
    np.testing.assert_allclose(np.median(z, axis=0), 0, atol=1e-6)


def test_a_nearly_constant_feature_becomes_zero() -> None:
    features = np.c_[1000 + 1e-9 * np.arange(9.0), np.arange(9.0)]
    standardise = Standardiser.fit(features, ("flat", "real"), clip=5.0, guard=1e-6)
    assert standardise.scale[0] == 0
    z = standardise.apply(np.array([[2000.0, 8.0]]))
    np.testing.assert_allclose(z, [[0.0, (8 - 4) / (1.4826 * 2)]])


def test_missing_values_are_left_out_and_become_the_median() -> None:
    features = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [4.0, np.nan]])
    standardise = Standardiser.fit(features, ("a", "never"), clip=5.0, guard=1e-6)
    assert standardise.centre == (2.0, 0.0)
    np.testing.assert_array_equal(standardise.apply(np.array([[np.nan, 3.0]])), [[0, 0]])


@pytest.mark.parametrize("scale", [(-1.0,), (float("nan"),), ()])
def test_an_invalid_scale_is_refused(scale: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="scale"):
        Standardiser(("a",), (0.0,), scale, 5.0)
