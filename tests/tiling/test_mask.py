from __future__ import annotations

import numpy as np
import pytest

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


def test_areas_add_up_to_the_plane() -> None:
    rng = np.random.default_rng(3)
    kind = rng.choice(np.array(list(MaskClass), np.uint8), (180, 270))
    mask = TissueMask(kind, Box(0, 0, 270 * 8, 180 * 8), (8, 8), Mpp(4.0, 4.0))
    assert set(mask.area_mm2()) == {kind.name.lower() for kind in MaskClass}
    assert sum(mask.area_mm2().values()) == pytest.approx(180 * 270 * mask.px_mm2)
    assert mask.px_mm2 == pytest.approx(16e-6)
