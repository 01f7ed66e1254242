"""How colours look to a protanope, and how far two of them are apart.

Machado, Oliveira and Fernandes, IEEE Transactions on Visualization and Computer Graphics 15 (2009) 1291-1298: matrix of
protanopia (severity 1.0) on linear RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.color import deltaE_ciede2000, rgb2lab

PROTANOPIA = np.array(
    [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]
)


def as_a_protanope(rgb: ArrayLike) -> NDArray[np.float64]:
    """Colours (..., 3) from 0 to 255 as a protanope sees them, in the same units."""
    share = np.asarray(rgb, np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ PROTANOPIA.T, 0, 1)
    return np.asarray(255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))


def ciede2000(one: ArrayLike, other: ArrayLike) -> Any:
    """Difference of colours (..., 3) from 0 to 255; about 2 is just seen."""
    return deltaE_ciede2000(*(rgb2lab(np.asarray(each, np.float64) / 255) for each in (one, other)))
