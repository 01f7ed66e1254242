"""Optical density of RGB pixels, and its separation into haematoxylin and eosin.

Densities are natural logarithms and have no unit. Every step works pixel by pixel, so that a pixel
gives the same bits whatever array it is part of.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

# Optical density of red, green and blue for each stain, of length one. Ruifrok AC, Johnston DA (2001),
# Quantification of histochemical staining by color deconvolution, Anal Quant Cytol Histol 23:291-299.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)

FAINTEST_OD = 0.15  # in each channel; the hue of paler pixels is not reliable
FEWEST_PIXELS = 100
ALIKE = 0.05  # sine of the angle between two stains below which they count as one


def optical_density(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Optical density -ln((I + 1) / 256) of each channel.

    The added one keeps black finite (5.545) and makes white exactly 0.

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).

    Returns
    -------
    float32, shape (..., 3), from 0 to 5.545.

    Examples
    --------
    >>> import numpy as np
    >>> optical_density(np.array([255, 127, 0], np.uint8)).round(3)
    array([0.   , 0.693, 5.545], dtype=float32)
    """
    return density_table()[_checked(rgb)]


def density_table() -> Floats:
    """Optical density of each of the 256 values of a channel, float32 (256,)."""
    levels = np.arange(1, 257, dtype=np.float64)
    return np.abs(np.log(levels / 256)).astype(np.float32)


def stain_matrix() -> npt.NDArray[np.float64]:
    """Return the three stain vectors as rows of unit length, (3, 3): `optical density = stains @ matrix`."""
    rows = np.array([HAEMATOXYLIN, EOSIN, np.cross(HAEMATOXYLIN, EOSIN)])
    unit: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def fit_stains(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Stain vectors of one slide's tissue, by the extreme hues in the plane of its densities.

    Macenko M et al. (2009), A method for normalizing histology slides for quantitative analysis, ISBI,
    1107-1110, with the densities of this module. The vector that absorbs more red is haematoxylin.

    Parameters
    ----------
    rgb
        Pixels of tissue, uint8, shape (..., 3).

    Returns
    -------
    float64, shape (3, 3): haematoxylin, eosin and their cross product as rows of unit length. The fixed
    `stain_matrix()` where fewer than 100 pixels are stained, or all of them alike.
    """
    density = optical_density(rgb).reshape(-1, 3).astype(np.float64)
    stained = density[(density > FAINTEST_OD).all(axis=1)]
    if len(stained) < FEWEST_PIXELS:
        return stain_matrix()
    plane = np.linalg.eigh(np.cov(stained.T))[1][:, 1:]
    plane *= np.where(plane.sum(axis=0) < 0, -1, 1)
    along = stained @ plane
    low, high = np.percentile(np.arctan2(along[:, 0], along[:, 1]), (1, 99))
    one, other = (plane @ (np.sin(angle), np.cos(angle)) for angle in (low, high))
    haematoxylin, eosin = (one, other) if one[0] > other[0] else (other, one)
    rows = np.array([haematoxylin, eosin, np.cross(haematoxylin, eosin)])
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if lengths.min() < ALIKE or rows[:2].min() < -ALIKE:
        return stain_matrix()
    unit: npt.NDArray[np.float64] = rows / lengths
    return unit


def _checked(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if rgb.dtype != np.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise ValueError(f"RGB pixels are uint8 of shape (..., 3), not {rgb.dtype} of shape {rgb.shape}")
    return rgb
