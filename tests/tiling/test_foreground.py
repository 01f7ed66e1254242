from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.tiling.foreground import foreground


def test_foreground_tells_stain_from_shaded_and_noisy_glass() -> None:
    rng = np.random.default_rng(0)

    def tile(colour: tuple[int, int, int], sigma: float) -> NDArray[np.uint8]:
        return np.clip(np.round(rng.normal(colour, sigma, (1, 64, 64, 3))), 0, 255).astype(np.uint8)

    glass = [tile((level, level, level), 2) for level in (225, 243, 250)]
    stain = [tile(colour, 1) for colour in ((246, 228, 238), (120, 90, 165), (236, 203, 231), (80, 80, 80))]
    assert foreground(np.concatenate(glass)).mean() < 0.01
    assert foreground(np.concatenate(stain)).mean() > 0.99
    assert foreground(np.zeros((2, 5, 7, 3), np.uint8)).shape == (2, 5, 7)
