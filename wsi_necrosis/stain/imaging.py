"""What the microscope and its camera do to pixels: focus, light and gamma, varied for training."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from wsi_necrosis.stain.separation import Pixels, _checked


class Light(NamedTuple):
    """Gain of red, green and blue, and the exponent of gamma; all 1 where nothing changes."""

    gains: npt.NDArray[np.float64]
    gamma: float


def relight(rgb: Pixels, light: Light) -> Pixels:
    """Pixels under another light and gamma: 255 min(1, gain x value / 255)^gamma, rounded.

    Gains that differ are a shift of the white balance, equal ones a change of brightness; as in a camera, what
    exceeds white is cut off. A gamma above 1 darkens the midtones.

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).
    light
        Gains and gamma, all above 0.

    Returns
    -------
    uint8, of the shape of `rgb`.

    Raises
    ------
    ValueError
        `rgb` is not uint8 of that shape, or a gain or gamma is not a finite number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> tile = np.array([[[255, 200, 100]]], np.uint8)
    >>> relight(tile, Light(np.array([1.1, 1.1, 0.9]), 1.0)).tolist()
    [[[255, 220, 90]]]
    """
    gains, gamma = np.asarray(light.gains, np.float64), light.gamma
    if gains.shape != (3,) or not (np.isfinite([*gains, gamma]).all() and min(*gains, gamma) > 0):
        raise ValueError(f"gains are three finite numbers above 0, and gamma is one, not {light}")
    values = np.minimum(gains[:, None] * np.arange(256) / 255, 1) ** gamma
    table = np.rint(255 * values).astype(np.uint8)
    pixels = _checked(rgb)
    return np.stack([np.take(table[channel], pixels[..., channel]) for channel in range(3)], axis=-1)


def defocus(rgb: Pixels, sigma_um: float, mpp: float) -> Pixels:
    """Tiles blurred by a Gaussian, the usual approximation of light out of focus; edges are continued.

    Parameters
    ----------
    rgb
        uint8, shape (..., h, w, 3).
    sigma_um
        Standard deviation in um, 0 or more; 0 gives the tiles back.
    mpp
        Pixel size in um, above 0.

    Returns
    -------
    uint8, of the shape of `rgb`.

    Raises
    ------
    ValueError
        `rgb` is not uint8 of that shape, `sigma_um` is negative, or `mpp` not above 0.
    """
    if not (0 <= sigma_um < np.inf and 0 < mpp < np.inf):
        raise ValueError(f"sigma_um is 0 or more and mpp above 0, not {sigma_um} and {mpp}")
    pixels = _checked(rgb)
    if not sigma_um:
        return pixels
    sigma = [0.0] * (pixels.ndim - 3) + [sigma_um / mpp] * 2 + [0.0]
    blurred = ndimage.gaussian_filter(pixels, sigma, output=np.float32, mode="nearest")
    return np.asarray(np.rint(blurred), np.uint8)


def draw_light(rng: np.random.Generator, brightness: float, white_balance: float, gamma: float) -> Light:
    """A light for `relight`: its gains are in 1 +- `brightness`, together, times 1 +- `white_balance`, each.

    Parameters
    ----------
    rng
        Five numbers are drawn from it.
    brightness, white_balance
        From 0 to less than 1, without unit; uniform.
    gamma
        The exponent lies from 1 / (1 + gamma) to 1 + gamma, with its logarithm uniform; 0 or more.

    Raises
    ------
    ValueError
        A strength is out of range.
    """
    if not (0 <= brightness < 1 and 0 <= white_balance < 1 and 0 <= gamma < np.inf):
        raise ValueError(
            "brightness and white_balance are from 0 to less than 1 and gamma 0 or more, "
            f"not {brightness}, {white_balance} and {gamma}"
        )
    common, *each, exponent = rng.uniform(-1, 1, 5)
    gains = (1 + brightness * common) * (1 + white_balance * np.array(each))
    return Light(gains, float((1 + gamma) ** exponent))
