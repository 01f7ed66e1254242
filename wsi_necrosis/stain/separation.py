"""Optical density of RGB pixels, and its separation into haematoxylin and eosin.

Densities are natural logarithms and have no unit. Every step works pixel by pixel, so that a pixel
gives the same bits whatever array it is part of.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]

STAINS = ("haematoxylin", "eosin", "residual")

# Optical density of red, green and blue for each stain, of length one. Ruifrok AC, Johnston DA (2001),
# Quantification of histochemical staining by color deconvolution, Anal Quant Cytol Histol 23:291-299.
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)

FAINTEST_OD = 0.15  # in each colour; paler pixels have no certain hue
FEWEST_PIXELS = 100
ALIKE = 0.05  # sine of the angle between two stains below which they are one

DENSITY_STEPS = 11_000  # per unit of density when densities become light: within 0.012 grey levels

LUMA = (0.299, 0.587, 0.114)  # weights of red, green and blue in luminance (ITU-R BT.601)


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


def separate_stains(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Densities of haematoxylin, eosin and what neither explains, by Ruifrok and Johnston's fixed matrix.

    The third vector is the cross product of the two stains. With it, and not with their third stain
    (DAB), the haematoxylin of H&E slides stays at or above 0 but for noise. A density is negative where
    the pixel's hue lies outside the stains; it is not clipped here.

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).

    Returns
    -------
    float32, shape (..., 3), in the order of `STAINS`.
    """
    density = optical_density(rgb)
    unmixing = np.linalg.inv(stain_matrix()).astype(np.float32)
    stains = np.empty_like(density)
    for stain in range(3):
        red, green, blue = unmixing[:, stain]
        stains[..., stain] = density[..., 0] * red + density[..., 1] * green + density[..., 2] * blue
    return stains


def grey_density(rgb: npt.NDArray[np.uint8]) -> Floats:
    """Optical density -ln((L + 1) / 256) of the luminance L (ITU-R BT.601).

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).

    Returns
    -------
    float32, shape (...), from 0 (white) to 5.545 (black).
    """
    pixels = _checked(rgb)
    red, green, blue = (np.arange(256, dtype=np.float32) * np.float32(weight) for weight in LUMA)
    luminance = red[pixels[..., 0]] + green[pixels[..., 1]] + blue[pixels[..., 2]]
    density: Floats = -np.log((np.minimum(luminance, np.float32(255)) + np.float32(1)) / np.float32(256))
    return np.maximum(density, np.float32(0))


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


def stained_share(rgb: Pixels) -> Floats:
    """How far pixels are stained and not glass: D^4 / (D^4 + 0.15^4), D the density of the darkest channel.

    It is 0 for white, 0.01 for usual glass (243), 0.5 at `FAINTEST_OD`, and nears 1 in tissue. Shifts of
    colour are multiplied by it, so that glass is not tinted and no edge appears beside it.

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).

    Returns
    -------
    float32, shape (...), from 0 up to less than 1.
    """
    pixels = _checked(rgb)
    darkest = np.minimum(np.minimum(pixels[..., 0], pixels[..., 1]), pixels[..., 2])
    square = density_table() ** 2
    table = square * square / (square * square + np.float32(FAINTEST_OD**4))
    return np.asarray(np.take(table, darkest), np.float32)


def recolour(
    rgb: Pixels, matrix: npt.NDArray[np.float64], shift: npt.NDArray[np.float64] | None = None
) -> Pixels:
    """Pixels whose densities become `densities @ matrix + stained_share * shift`.

    Light is 256 exp(-density) - 1, rounded and clipped: the inverse of `optical_density`. The unit matrix
    without a shift gives the pixels back, and white stays white under any.

    Parameters
    ----------
    rgb
        uint8, shape (..., 3).
    matrix
        float, shape (3, 3), from densities of red, green and blue to such.
    shift
        Density added to red, green and blue, float, shape (3,).

    Returns
    -------
    uint8, shape (..., 3).

    Raises
    ------
    ValueError
        `rgb` is not uint8 of that shape.
    """
    pixels, table, light = _checked(rgb), density_table(), _light_table()
    planes = [np.take(table, pixels[..., channel]) for channel in range(3)]
    stained = None if shift is None or not np.any(shift) else stained_share(pixels)
    changed = np.empty_like(pixels)
    for channel in range(3):
        red, green, blue = np.asarray(matrix, np.float32)[:, channel]
        density = planes[0] * red + planes[1] * green + planes[2] * blue
        if shift is not None and stained is not None:
            density += stained * np.float32(shift[channel])
        steps = density * np.float32(DENSITY_STEPS) + np.float32(0.5)
        changed[..., channel] = np.take(light, np.clip(steps, 0, len(light) - 1).astype(np.int32))
    return changed


def jitter_stains(rgb: Pixels, factors: npt.NDArray[np.float64], offsets: npt.NDArray[np.float64]) -> Pixels:
    """Tiles with each stain made stronger or weaker: density of stain k times factor k plus offset k.

    Stains are those of the fixed matrix. An offset is multiplied by `stained_share`, so that it is full in
    tissue, fades with density, and leaves white as it is. Factors of 1 and offsets of 0 give the tiles back.

    Augmentation of haematoxylin, eosin and residual: Tellez D et al. (2018), Whole-slide mitosis detection
    in H&E breast histology using PHH3 as a reference to train distilled stain-invariant convolutional
    networks, IEEE Trans Med Imaging 37:2126-2136; there, offsets are added to glass too.

    Parameters
    ----------
    rgb
        uint8, shape (..., h, w, 3).
    factors, offsets
        float, shape (3,), in the order of `STAINS`; offsets in optical density.

    Returns
    -------
    uint8, of the shape of `rgb`.

    Raises
    ------
    ValueError
        An array has another shape or type, or a factor or an offset is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> tile = np.array([[[255, 255, 255], [150, 90, 160]]], np.uint8)
    >>> jitter_stains(tile, np.array([1.1, 0.9, 1.0]), np.array([0.02, -0.02, 0.0])).tolist()
    [[[255, 255, 255], [141, 89, 156]]]
    """
    for name, values in (("factors", factors), ("offsets", offsets)):
        if np.shape(values) != (3,) or not np.isfinite(values).all():
            raise ValueError(f"{name} are three finite numbers, not {np.asarray(values).tolist()}")
    stains = stain_matrix()
    unmixing = np.linalg.inv(stains)
    return recolour(rgb, unmixing * factors @ stains, offsets @ stains)


def draw_jitter(
    rng: np.random.Generator, sigma: float, offset: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Factors, uniform in 1 +- `sigma`, and offsets, uniform in +- `offset`, for `jitter_stains`.

    Parameters
    ----------
    rng
        Six numbers are drawn from it, those of the factors first.
    sigma
        From 0 to less than 1, without unit.
    offset
        Optical density, 0 or more.

    Returns
    -------
    Two arrays, float64, shape (3,).

    Raises
    ------
    ValueError
        `sigma` or `offset` is out of range.
    """
    if not 0 <= sigma < 1 or not 0 <= offset < np.inf:
        raise ValueError(f"sigma is from 0 to less than 1 and offset 0 or more, not {sigma} and {offset}")
    return rng.uniform(1 - sigma, 1 + sigma, 3), rng.uniform(-offset, offset, 3)


def is_stain_matrix(stains: npt.NDArray[np.float64]) -> bool:
    """Whether the rows are three vectors of length one, no two of them alike: float64 (3, 3)."""
    if np.shape(stains) != (3, 3) or not np.isfinite(stains).all():
        return False
    unit = np.allclose(np.linalg.norm(stains, axis=1), 1, atol=1e-3)
    return bool(unit and abs(np.linalg.det(stains)) > ALIKE**2)


@cache
def _light_table() -> Pixels:
    """Grey level of each step of density, from white to black."""
    density = np.arange(round(np.log(256) * DENSITY_STEPS) + 1, dtype=np.float64) / DENSITY_STEPS
    levels: Pixels = np.rint(256 * np.exp(-density) - 1).astype(np.uint8)
    levels.setflags(write=False)  # one array for all callers
    return levels


def _checked(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if rgb.dtype != np.uint8 or rgb.ndim < 1 or rgb.shape[-1] != 3:
        raise ValueError(f"RGB pixels are uint8 of shape (..., 3), not {rgb.dtype} of shape {rgb.shape}")
    return rgb
