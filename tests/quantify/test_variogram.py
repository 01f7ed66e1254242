import numpy as np
import pytest

from wsi_necrosis.quantify.variogram import correlation_range_mm


@pytest.mark.parametrize("side", [1.0, 2.0, 4.0])
def test_the_range_grows_with_patches(side: float) -> None:
    row, col = np.indices((100, 100)).reshape(2, -1) * 0.25
    patches = np.random.default_rng(0).random((30, 30))[(row // side).astype(int), (col // side).astype(int)]
    found = correlation_range_mm(np.stack([row, col], axis=-1), patches, 1)
    assert found is not None
    assert 0.7 * side < found < 1.7 * side


def test_the_range_of_what_does_not_vary_is_not_known() -> None:
    place = np.stack(np.indices((20, 20)), axis=-1).reshape(-1, 2)
    assert correlation_range_mm(place, np.zeros(400), 1) is None
    assert correlation_range_mm(place[:50], np.arange(50.0), 1) is None
