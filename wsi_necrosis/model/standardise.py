"""Robust z-scores of radiomic features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict

from wsi_necrosis.model.calibration import STRICT


@dataclass(frozen=True)
class Standardiser:
    """Robust z-scores of radiomic features: (x - centre) / scale, clipped.

    Attributes
    ----------
    names : tuple of str
        The features, in the order of the columns.
    centre, scale : tuple of float
        Median and 1.4826 x median absolute deviation over the training tiles. A scale of 0 marks a
        feature that was nearly constant there; its z is always 0.
    clip : float
        Largest |z|, so that one outlying feature does not dominate the others.
    """

    names: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    clip: float
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.centre) == len(self.scale):
            raise ValueError("names, centre and scale differ in length")
        if not (
            np.isfinite((*self.centre, *self.scale, self.clip)).all()
            and min(self.scale, default=0) >= 0
            and self.clip > 0
        ):
            raise ValueError("centre, scale and clip must be finite, no scale negative, and clip above 0")

    @classmethod
    def fit(cls, features: NDArray[np.float64], names: tuple[str, ...], clip: float, guard: float) -> Self:
        """Centre and scale of `features` (n, F), from training cases only.

        `guard` is the smallest scale, relative to the largest |x|, that counts as variation;
        without it a nearly constant feature gets huge z from rounding noise. Missing values (NaN)
        are left out.
        """
        known = np.where(np.isfinite(features), features, np.nan)
        known[:, np.isnan(known).all(axis=0)] = 0.0
        centre = np.nanmedian(known, axis=0)
        scale = 1.4826 * np.nanmedian(np.abs(known - centre), axis=0)
        scale = np.where(scale > guard * np.nanmax(np.abs(known), axis=0), scale, 0.0)
        return cls(names, tuple(centre.tolist()), tuple(scale.tolist()), clip)

    def apply(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard scores of `features` (n, F): float64 (n, F) in +-clip; missing values (NaN) become 0, the median."""
        x = np.asarray(features, dtype=np.float64)
        scale = np.asarray(self.scale)
        usable = (scale > 0) & ~np.isnan(x)
        z = np.divide(x - np.asarray(self.centre), scale, out=np.zeros_like(x), where=usable)
        return np.asarray(np.clip(z, -self.clip, self.clip), np.float64)
