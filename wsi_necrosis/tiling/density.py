"""How dense tissue is at low resolution, where folds lie double."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.stain.separation import density_table


def tissue_density(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean optical density of the three colours.

    Parameters
    ----------
    rgb : uint8 array (..., 3)
        Pixels of tissue, at about 4 um.

    Returns
    -------
    float32 array (...)
    """
    return np.asarray(density_table()[rgb].mean(axis=-1), np.float32)
