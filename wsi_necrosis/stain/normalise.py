"""Stain normalisation: the colours of a slide's tissue brought to a standard, by a map fitted once per slide.

Every step works pixel by pixel, so that a pixel gives the same bits whatever array it is part of.
CIELAB is that of sRGB pixels under D65. Lightness, a and b are a linear map of the cube roots of X, Y and
Z, and are handled as these roots here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Self, cast, get_args

import numpy as np
import numpy.typing as npt

from wsi_necrosis.stain.recolour import recolour, stained_share
from wsi_necrosis.stain.separation import (
    FAINTEST_OD,
    FEWEST_PIXELS,
    Floats,
    Pixels,
    fit_stains,
    optical_density,
)

Method = Literal["macenko", "reinhard"]
Numbers = npt.NDArray[np.float64]

# The standard: medians over the 23 slides of 48 tiles of Osteosarcoma-Tumor-Assessment (Leavey P et al.,
# The Cancer Imaging Archive, CC BY 3.0, doi 10.7937/tcia.2019.bvhjhdas). Tiles are averaged to 1 um per pixel,
# every fifth pixel of `tiling.foreground` counts, and the tiles of a slide are fitted as one; then the median
# of each number is taken, and stain vectors are brought back to length one, as in
# tests/stain/test_normalise.py.
TARGET_STAINS = ((0.5115, 0.7257, 0.4600), (0.1526, 0.8186, 0.5537))  # haematoxylin and eosin
TARGET_STRENGTHS = (1.3400, 1.2975)  # 99th percentiles of their densities
TARGET_MEAN = (64.44, 28.48, -5.02)  # of lightness, a and b (CIELAB)
TARGET_SD = (12.79, 10.17, 4.51)

STRONGEST_PERCENT = 99  # percentile of a stain's density that is its strength; denser pixels are often dirt
# Largest scaling, 1 over it the smallest; a slide that needs more holds hardly any of the stain.
MOST_CHANGE = 3.0
MOST_PIXELS = 500_000  # used by a fit, evenly chosen

LINEAR_STEPS = 65_535  # of light in the table that gives grey levels: within 0.03 levels
KNEE = 6 / 29  # cube root below which CIELAB is linear

# X, Y and Z of linear red, green and blue of sRGB (IEC 61966-2-1), as in skimage.color.
XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
# Lightness, a and b of the cube roots of X, Y and Z over those of white; lightness is 16 less (CIE 15).
LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))
LAB_ORIGIN = (-16.0, 0.0, 0.0)

UNIT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Normaliser:
    """A linear map of pixels, of their densities or of their CIELAB values.

    Attributes
    ----------
    method : {"none", "macenko", "reinhard"}
        "none" returns the array itself. "macenko" maps the densities of red, green and blue, "reinhard"
        lightness, a and b.
    matrix : tuple, 3 x 3
        The map: `values @ matrix + offset`.
    offset : tuple of three
        In the unit of the values; zero for "macenko".

    Raises
    ------
    ValueError
        The method is unknown, or the numbers are not 3 x 3 and 3, or not finite.
    """

    method: Literal["none", "macenko", "reinhard"] = "none"
    matrix: tuple[tuple[float, ...], ...] = UNIT
    offset: tuple[float, ...] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        if self.method not in ("none", *get_args(Method)):
            raise ValueError(f"normalisation is 'none', 'macenko' or 'reinhard', not {self.method!r}")
        if [len(row) for row in (*self.matrix, self.offset)] != [3] * 4:
            raise ValueError("a normaliser has a matrix of 3 x 3 and an offset of 3 numbers")
        if not np.isfinite([*self.matrix, self.offset]).all():
            raise ValueError("the numbers of a normaliser are finite")

    def apply(self, rgb: Pixels) -> Pixels:
        """Pixels in standard colours.

        White stays white. "reinhard" as published moves every pixel alike and so tints glass; here the
        change of a pixel is multiplied by its `recolour.stained_share`, and fades out with density.

        Parameters
        ----------
        rgb : uint8 array (..., 3)

        Returns
        -------
        uint8 array (..., 3)

        Raises
        ------
        ValueError
            `rgb` is not uint8 of that shape.
        """
        if self.method == "reinhard":
            return _shift_lab(rgb, np.array(self.matrix), np.array(self.offset))
        if self.method == "macenko":
            return recolour(rgb, np.array(self.matrix))
        return rgb

    def to_dict(self) -> dict[str, Any]:
        """The normaliser as plain JSON types; `from_dict` reads it back."""
        return {
            "method": self.method,
            "matrix": [list(row) for row in self.matrix],
            "offset": list(self.offset),
        }

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Self:
        """Read a normaliser from the mapping that `to_dict` wrote.

        Raises
        ------
        ValueError
            A key is missing or unknown, or what it holds does not make a normaliser.
        """
        if set(tree) != {"method", "matrix", "offset"}:
            raise ValueError(f"a normaliser has method, matrix and offset, not {sorted(tree)}")
        try:
            matrix = tuple(tuple(map(float, row)) for row in tree["matrix"])
            offset = tuple(map(float, tree["offset"]))
        except (TypeError, ValueError):
            raise ValueError("the matrix and the offset of a normaliser are numbers") from None
        return cls(tree["method"], matrix, offset)


def fit_normaliser(method: Method, tissue_rgb: Pixels) -> Normaliser:
    """The map from a slide's colours to the standard ones.

    "macenko": the slide's stain vectors (`separation.fit_stains`) are replaced by the standard ones, and the
    density of each is scaled so that its 99th percentile is the standard one. What neither stain explains
    keeps its density. Macenko M et al. (2009), ISBI, 1107-1110.

    "reinhard": mean and standard deviation of lightness, a and b become the standard ones. Reinhard E et
    al. (2001), Color transfer between images, IEEE Comput Graph Appl 21:34-41, in CIELAB in place of their
    l-alpha-beta, as is usual in histology.

    No density and no deviation is scaled by more than 3 or less than a third.

    Parameters
    ----------
    method : {"macenko", "reinhard"}
    tissue_rgb : uint8 array (n, 3)
        Pixels of tissue, without glass, best of about 1 um, for which the standard holds: in pixels of 4 um
        nuclei are blurred, haematoxylin looks weaker by a fifth, and so comes out too strong. Of more than
        500,000, evenly chosen ones count.

    Returns
    -------
    Normaliser
        The one that changes nothing where fewer than 100 pixels are stained, each channel denser than 0.15.

    Raises
    ------
    ValueError
        The method is unknown, or the pixels are not uint8 of that shape.
    """
    if method not in get_args(Method):
        raise ValueError(f"method is 'macenko' or 'reinhard', not {method!r}")
    if tissue_rgb.ndim != 2:
        raise ValueError(f"pixels of tissue have shape (n, 3), not {tissue_rgb.shape}")
    pixels = tissue_rgb[:: max(1, -(-len(tissue_rgb) // MOST_PIXELS))]
    if (optical_density(pixels) > FAINTEST_OD).all(axis=1).sum() < FEWEST_PIXELS:
        return Normaliser()
    return _fit_macenko(pixels) if method == "macenko" else _fit_reinhard(pixels)


def stain_strengths(rgb: Pixels, stains: Numbers) -> Numbers:
    """99th percentile of the densities of haematoxylin and eosin.

    The third row of `stains` is at right angles to the others, so that these are the least-squares ones.

    Parameters
    ----------
    rgb : uint8 array (n, 3)
    stains : float array (3, 3)
        As `separation.fit_stains` gives them.

    Returns
    -------
    float array (2,)
    """
    densities = optical_density(rgb) @ np.linalg.inv(stains)[:, :2]
    return np.asarray(np.percentile(densities, STRONGEST_PERCENT, axis=0))


def lab_moments(rgb: Pixels) -> tuple[Numbers, Numbers]:
    """Mean and standard deviation of lightness, a and b of pixels.

    Parameters
    ----------
    rgb : uint8 array (n, 3)

    Returns
    -------
    Two float arrays (3,)
    """
    lab = np.stack(_cube_roots(rgb), axis=-1).astype(np.float64) @ np.transpose(LAB) + LAB_ORIGIN
    return lab.mean(axis=0), lab.std(axis=0)


def _fit_macenko(pixels: Pixels) -> Normaliser:
    stains = fit_stains(pixels)
    target = np.array([*TARGET_STAINS, np.cross(*TARGET_STAINS)])
    target /= np.linalg.norm(target, axis=1, keepdims=True)
    scale = np.append(_ratio(TARGET_STRENGTHS, stain_strengths(pixels, stains)), 1.0)
    return Normaliser("macenko", _rows(np.linalg.inv(stains) * scale @ target))


def _fit_reinhard(pixels: Pixels) -> Normaliser:
    mean, deviation = lab_moments(pixels)
    scale = _ratio(TARGET_SD, deviation)
    return Normaliser("reinhard", _rows(np.diag(scale)), tuple((TARGET_MEAN - mean * scale).tolist()))


def _ratio(wanted: tuple[float, ...], found: Numbers) -> Numbers:
    """`wanted` over `found`, within the bounds of `MOST_CHANGE`."""
    ratio: Numbers = wanted / np.maximum(found, 1e-6)
    return ratio.clip(1 / MOST_CHANGE, MOST_CHANGE)


def _rows(matrix: Numbers) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def _shift_lab(rgb: Pixels, matrix: Numbers, offset: Numbers) -> Pixels:
    """Pixels whose lightness, a and b move towards `lab @ matrix + offset` by their stained share."""
    share = stained_share(rgb)
    to_lab, to_roots = np.transpose(LAB), np.linalg.inv(np.transpose(LAB))
    of_roots = to_lab @ matrix @ to_roots - np.eye(3)
    added = (LAB_ORIGIN @ matrix + offset - LAB_ORIGIN) @ to_roots
    roots = _cube_roots(rgb)
    moved = _mixed(roots, of_roots.T, added)
    return _from_cube_roots([root + share * move for root, move in zip(roots, moved, strict=True)])


def _cube_roots(rgb: Pixels) -> list[Floats]:
    """CIELAB's cube roots of X, Y and Z over those of white, each float32 of shape (...)."""
    light, roots = _tables()[:2]
    planes = [np.take(light, rgb[..., channel]) for channel in range(3)]
    return [np.take(roots, _step(plane)) for plane in _mixed(planes, _to_xyz())]


def _from_cube_roots(roots: list[Floats]) -> Pixels:
    """Pixels of CIELAB's cube roots, rounded and clipped: uint8 (..., 3)."""
    levels = _tables()[2]
    knee, slope = np.float32(KNEE), np.float32(3 * KNEE**2)
    planes = [
        np.where(root > knee, root * root * root, slope * (root - np.float32(4 / 29))) for root in roots
    ]
    colours = [
        np.take(levels, _step(plane))
        for plane in _mixed(planes, np.asarray(np.linalg.inv(_to_xyz()), np.float64))
    ]
    return np.stack(colours, axis=-1)


def _mixed(planes: list[Floats], matrix: Numbers, added: Numbers | None = None) -> list[Floats]:
    """`matrix` times three planes, and a number added to each; the order of sums does not depend on the shape."""
    numbers = np.asarray(matrix, np.float32)
    sums = [planes[0] * row[0] + planes[1] * row[1] + planes[2] * row[2] for row in numbers]
    return (
        sums if added is None else [plane + np.float32(more) for plane, more in zip(sums, added, strict=True)]
    )


def _step(plane: Floats) -> npt.NDArray[np.int32]:
    """Index of light from 0 to 1 in tables of `LINEAR_STEPS` steps."""
    steps = plane * np.float32(LINEAR_STEPS) + np.float32(0.5)
    return np.asarray(np.clip(steps, 0, LINEAR_STEPS).astype(np.int32))


def _to_xyz() -> Numbers:
    """X, Y and Z over those of white, of linear red, green and blue: (3, 3)."""
    matrix = np.array(XYZ)
    return cast(Numbers, matrix / matrix.sum(axis=1, keepdims=True))


@cache
def _tables() -> tuple[Floats, Floats, Pixels]:
    """Light of each grey level; cube root, and grey level, of each step of light.

    The curve of sRGB is that of IEC 61966-2-1.
    """
    level = np.arange(256) / 255
    light = np.where(level > 0.04045, ((level + 0.055) / 1.055) ** 2.4, level / 12.92).astype(np.float32)
    step = np.arange(LINEAR_STEPS + 1) / LINEAR_STEPS
    roots = np.where(step > KNEE**3, np.cbrt(step), step / (3 * KNEE**2) + 4 / 29).astype(np.float32)
    curve = np.where(step > 0.0031308, 1.055 * step ** (1 / 2.4) - 0.055, 12.92 * step)
    levels = np.rint(255 * curve).astype(np.uint8)
    for table in (light, roots, levels):
        table.setflags(write=False)  # one array for all callers
    return light, roots, levels
