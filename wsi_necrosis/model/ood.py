"""Recognise tiles that are unlike all training tiles: other stains, pen, fluorescence, blank glass.

A tile is described by its colours and by how much they vary at four scales, and compared with the training
crops. Features of the network would not do: it was taught to look past colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from wsi_necrosis.stain.separation import density_table

OCTAVES = 3  # halvings: variation within 2, 4, 8 pixels, and beyond
FLOOR_OD = 0.003  # added to each spread, so that noise of flat places does not decide
NUMBERS = 3 * (1 + OCTAVES + 1)
DIGITS = 6  # significant digits that a checkpoint keeps
LEAST_SCALE = 1e-3  # of a number that does not vary; well above what these digits round away


def describe(tiles: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Colours of tiles, and how they vary: mean density, and log spread by octave, of red, green and blue.

    The variance of an octave is what averaging 2 x 2 pixels takes away: the mean square before less that after (the
    energy of Haar wavelets, Mallat S (1989), IEEE TPAMI 11:674-693); the last is what is left at the coarsest scale.
    Turns and mirrors of a tile change nothing but rounding.

    Parameters
    ----------
    tiles : uint8 array (n, h, w, 3)
        RGB; rows and columns beyond a multiple of 8 are left out.

    Returns
    -------
    float64 array (n, 15)
        A row depends on its tile alone.
    """
    # numba takes a second to import; what only reads a model's description should not wait for it.
    octave_sums = import_module("wsi_necrosis.model.octaves").octave_sums
    sums = np.empty((len(tiles), 3, OCTAVES + 2))
    octave_sums(np.ascontiguousarray(tiles), density_table(), sums)
    coarsest = 2**OCTAVES
    height, width = (side // coarsest * coarsest for side in tiles.shape[1:3])
    moments = sums / (height * width / np.array([4**octave for octave in (*range(OCTAVES + 1), OCTAVES)]))
    squares, mean = moments[..., :-1], moments[..., -1]
    variance = np.maximum(-np.diff(squares, append=mean[..., None] ** 2), 0)
    spread = np.log(FLOOR_OD + np.sqrt(variance)).swapaxes(1, 2).reshape(len(tiles), NUMBERS - 3)
    return np.concatenate([mean, spread], axis=1)


@dataclass(frozen=True)
class OodDetector:
    """How unlike the training crops a tile is.

    The distance is that of Mahalanobis over the root of the count of numbers, with a covariance shrunk towards none:
    about 1 for a common training crop.

    Attributes
    ----------
    centre, scale : tuple of float
        Mean and standard deviation of the training crops' descriptions.
    precision : tuple of tuples of float
        Inverse of the shrunk covariance of the scaled descriptions.
    limit : float
        Distance beyond which a tile counts as out of distribution.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        shapes = {len(self.centre), len(self.scale), len(self.precision), *map(len, self.precision)}
        numbers = np.concatenate([self.centre, self.scale, [self.limit], *self.precision])
        if shapes != {NUMBERS}:
            raise ValueError(f"centre, scale and precision are of {NUMBERS} numbers")
        if not np.isfinite(numbers).all() or min(*self.scale, self.limit) <= 0:
            raise ValueError("all numbers are finite, scales and the limit above 0")

    @classmethod
    def fit(cls, points: NDArray[np.float64], limit: float, shrinkage: float) -> Self:
        """Compare with these descriptions (m, 15) of training crops, at least two."""
        centre = points.mean(axis=0)
        scale = np.maximum(points.std(axis=0), LEAST_SCALE)
        z = (points - centre) / scale
        # Not scikit-learn's ShrunkCovariance, which shrinks towards the mean variance: the same where every number
        # varies, but where none does its covariance is 0, and no tile would be far from any other.
        covariance = (1 - shrinkage) * (z.T @ z) / len(z) + shrinkage * np.eye(NUMBERS)
        precision = np.linalg.pinv(covariance, hermitian=True)
        return cls(_rounded(centre), _rounded(scale), tuple(map(_rounded, precision)), limit)

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance (n,) of descriptions (n, 15)."""
        z = (points - np.asarray(self.centre)) / np.asarray(self.scale)
        squared = np.einsum("ni,ij,nj->n", z, np.asarray(self.precision), z)
        return np.asarray(np.sqrt(np.maximum(squared, 0) / NUMBERS))

    def of(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Distance of tiles (n, h, w, 3) over the limit: float32 (n,), above 1 where a tile is out of distribution."""
        return (self.distance(describe(tiles)) / self.limit).astype(np.float32)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
