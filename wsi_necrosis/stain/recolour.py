"""Change the stains of pixels: linear maps of optical density, and stain augmentation."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from wsi_necrosis.stain.separation import FAINTEST_OD, Floats, Pixels, _checked, density_table, stain_matrix

DENSITY_STEPS = 11_000  # per unit of density when densities become light: within 0.012 grey levels


def stained_share(rgb: Pixels) -> Floats:
    """How far pixels are stain and not glass: D^4 / (D^4 + 0.15^4), D the density of the darkest channel.

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
        float, shape (3, 3), which maps densities of red, green and blue.
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
        float, shape (3,), in the order haematoxylin, eosin, residual; offsets in optical density.

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


@cache
def _light_table() -> Pixels:
    """Grey level of each step of density, from white to black."""
    density = np.arange(round(np.log(256) * DENSITY_STEPS) + 1, dtype=np.float64) / DENSITY_STEPS
    levels: Pixels = np.rint(256 * np.exp(-density) - 1).astype(np.uint8)
    levels.setflags(write=False)  # one array for all callers
    return levels
