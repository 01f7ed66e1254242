"""Pixels whose stains are to be separated."""

from __future__ import annotations

import numpy as np
from hypothesis.extra import numpy as hnp

RGB = hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=6).map(lambda side: (*side, 3)))


def mixed(vectors: np.ndarray, count: int = 4000) -> np.ndarray:
    """Pixels of tissue that holds both stains in any proportion."""
    rng = np.random.default_rng(5)
    density = rng.dirichlet((0.3, 0.3), count) * rng.uniform(0.4, 1.6, (count, 1)) @ vectors
    return np.clip(256 * np.exp(-density) - 1, 0, 255).round().astype(np.uint8)
