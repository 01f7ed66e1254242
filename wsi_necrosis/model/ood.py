"""Recognise tiles that are unlike all training tiles: other stains, pen, fluorescence, blank glass.

A tile is described by its colours and by how much they vary between neighbouring pixels, and compared with the views
that the model was trained on. Features of the network are not used: it is trained on varied stains and light to ignore
colour. Nor is variation over larger distances: it differs from tissue to tissue more than from stain to stain, and
would refuse cartilage to a model of cases without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from wsi_necrosis.model.calibration import STRICT
from wsi_necrosis.stain.separation import density_table

NUMBERS = 6  # see `ood_features.describe`
FLOOR_OD = 0.003  # added to each spread, so that noise in uniform areas has little weight
DIGITS = 6  # significant digits that a checkpoint keeps
LARGEST = 1e6  # of a detector's numbers; a distance computed with larger ones may be no number
LEAST_SCALE = 1e-3  # of a number that does not vary; well above what these digits round away


@dataclass(frozen=True)
class OodDetector:
    """How unlike the views of the training crops a tile is.

    The distance is that of Mahalanobis over the square root of the number of dimensions, with the covariance of the
    scaled descriptions shrunk towards the identity: about 1 for a common view.

    Attributes
    ----------
    centre, scale : tuple of float
        Mean and standard deviation of the views' descriptions.
    precision : tuple of tuples of float
        Inverse of the shrunk covariance of the scaled descriptions.
    limit : float
        Distance beyond which a tile counts as out of distribution.
    """

    centre: tuple[float, ...]
    scale: tuple[float, ...]
    precision: tuple[tuple[float, ...], ...]
    limit: float
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        shapes = {len(self.centre), len(self.scale), len(self.precision), *map(len, self.precision)}
        numbers = np.concatenate([self.centre, self.scale, [self.limit], *self.precision])
        if shapes != {NUMBERS}:
            raise ValueError(f"centre, scale and precision are of {NUMBERS} numbers")
        if not np.isfinite(numbers).all() or min(*self.scale, self.limit) <= 0:
            raise ValueError("all numbers are finite, scales and the limit above 0")
        if np.abs(numbers).max() > LARGEST or min(self.scale) < LEAST_SCALE / 2:
            raise ValueError(f"no number is above {LARGEST:g}, and no scale below {LEAST_SCALE:g}")
        precision = np.asarray(self.precision)
        if not np.allclose(precision, precision.T) or np.linalg.eigvalsh(precision).min() <= 0:
            raise ValueError("precision is no inverse of a covariance: symmetric, with eigenvalues above 0")

    @classmethod
    def fit(cls, points: NDArray[np.float64], limit: float, shrinkage: float) -> Self:
        """A detector from the descriptions (m, 6) of views of training crops, at least two."""
        centre = points.mean(axis=0)
        scale = np.maximum(points.std(axis=0), LEAST_SCALE)
        z = (points - centre) / scale
        # Not scikit-learn's ShrunkCovariance, which shrinks towards the mean variance: the same where every number
        # varies, but where none does its covariance is 0, and no tile would be far from any other.
        covariance = (1 - shrinkage) * (z.T @ z) / len(z) + shrinkage * np.eye(NUMBERS)
        precision = np.linalg.pinv(covariance, hermitian=True)
        return cls(_rounded(centre), _rounded(scale), tuple(map(_rounded, precision)), limit)

    @property
    def takes_pure_colours(self) -> bool:
        """Whether tiles of pure red, green or blue, which no stained tissue resembles, are within the limit."""
        dense = float(density_table()[0])
        pure = np.hstack([dense * (1 - np.eye(3)), np.full((3, 3), np.log(FLOOR_OD))])
        return bool((~(self.distance(pure) > self.limit)).any())

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distance (n,) of descriptions (n, 6)."""
        z = (points - np.asarray(self.centre)) / np.asarray(self.scale)
        squared = np.einsum("ni,ij,nj->n", z, np.asarray(self.precision), z)
        return np.asarray(np.sqrt(np.maximum(squared, 0) / NUMBERS))

    def of(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Distance of tiles (n, h, w, 3) over the limit: float32 (n,), above 1 where a tile is out of distribution."""
        # numba takes half a second to import; reading a model's description does not need it.
        from wsi_necrosis.model.ood_features import describe

        return (self.distance(describe(tiles)) / self.limit).astype(np.float32)


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{DIGITS}g}") for value in values)
