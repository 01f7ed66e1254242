from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
from hypothesis import given
from hypothesis import strategies as st
from radiomics.firstorder import RadiomicsFirstOrder

from wsi_necrosis.radiomics.families import FIRST_ORDER
from wsi_necrosis.radiomics.firstorder import first_order

WIDTH = 1 / 16


def by_pyradiomics(values: np.ndarray) -> dict[str, float]:
    image = SimpleITK.GetImageFromArray(values[None, None].astype(np.float64))
    mask = SimpleITK.GetImageFromArray(np.ones((1, 1, values.size), np.uint8))
    found = RadiomicsFirstOrder(image, mask, binWidth=WIDTH).execute()
    return {name: float(value) for name, value in found.items()}


def ours(values: np.ndarray) -> dict[str, float]:
    values = values.astype(np.float32)
    found = first_order(values, np.bincount((values / WIDTH).astype(np.int64)))
    return dict(zip(FIRST_ORDER, found.tolist(), strict=True))


@given(st.integers(0, 2**32), st.integers(3, 400), st.sampled_from([0, 1, 2, 6]))
def test_equal_to_pyradiomics(seed: int, size: int, decimals: int) -> None:
    """Coarse decimals give ties, also at the percentiles; 0 decimals give few values."""
    values = np.random.default_rng(seed).gamma(2.0, 0.2, size).round(decimals).astype(np.float32) + 0
    if values.min() == values.max():
        values[0] += 1  # equal values have their own test
    theirs = by_pyradiomics(values)
    for name, value in ours(values).items():
        assert value == pytest.approx(theirs[name], rel=1e-9, abs=1e-9), name


@given(st.integers(1, 60), st.integers(0, 2**32))
def test_percentiles_are_numpys_to_the_last_bit(size: int, seed: int) -> None:
    values = np.random.default_rng(seed).choice([0.0, 0.1, 0.25, 0.7, 1.9], size).astype(np.float32)
    found = ours(values)
    for name, share in (("10Percentile", 10), ("Median", 50), ("90Percentile", 90)):
        assert found[name] == np.percentile(values.astype(np.float64), share), name


@given(st.floats(0, 1.96875, width=32), st.integers(1, 50))
def test_equal_values_have_no_spread_and_no_shape(value: float, size: int) -> None:
    found = ours(np.full(size, value) + 0.0)
    for name in ("Variance", "Skewness", "Kurtosis", "Range", "MeanAbsoluteDeviation", "InterquartileRange"):
        assert found[name] == 0, name
    for name in ("Mean", "Median", "Minimum", "Maximum", "10Percentile"):
        assert found[name] == value, name
    assert found["Entropy"] == pytest.approx(0, abs=1e-12)
    assert found["Uniformity"] == 1


def test_nothing_gives_zeros() -> None:
    assert ours(np.empty(0)) == dict.fromkeys(FIRST_ORDER, 0.0)


def test_two_values_lie_outside_their_percentiles() -> None:
    """pyradiomics gives NaN here; nothing is left to deviate."""
    assert ours(np.array([0.2, 0.8]))["RobustMeanAbsoluteDeviation"] == 0
