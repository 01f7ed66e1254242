"""The reference engine: pyradiomics's own feature classes, one image after the other.

pyradiomics holds the interpreter's lock most of the time: threads gain little here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import SimpleITK
from radiomics.firstorder import RadiomicsFirstOrder
from radiomics.glcm import RadiomicsGLCM
from radiomics.gldm import RadiomicsGLDM
from radiomics.glrlm import RadiomicsGLRLM
from radiomics.glszm import RadiomicsGLSZM
from radiomics.ngtdm import RadiomicsNGTDM

from wsi_necrosis.radiomics.families import FAMILIES
from wsi_necrosis.radiomics.planes import Image

Numbers = npt.NDArray[np.float64]

# pyradiomics logs for every tile that SumAverage is redundant. This logger is not in the tree of loggers, so
# that the user's own settings of pyradiomics's logging stay as they are.
_SILENT_LOGGER = logging.Logger("silence", level=logging.CRITICAL + 1)


def measure_image(image: Image, families: Collection[str], distances: tuple[int, ...]) -> dict[str, Numbers]:
    """Features of one image by family, each in the order of `families.FAMILIES`."""
    if not image.mask.any():
        return {family: np.zeros(len(FAMILIES[family])) for family in families}
    rows, cols = np.flatnonzero(image.mask.any(1)), np.flatnonzero(image.mask.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    # pyradiomics refuses an image of one pixel; a border changes nothing else.
    values = np.pad(image.values[window].astype(np.float64), max(distances))
    mask = np.pad(image.mask[window], max(distances))
    bins = np.minimum((values / image.width).astype(np.int64), image.bins - 1)
    levels = np.where(mask, bins - bins[mask].min() + 1, 0)
    return {family: _measure(family, values, levels, mask, distances) for family in families}


def _measure(
    family: str, values: Numbers, levels: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_], distances: Any
) -> Numbers:
    picture = values if family == "firstorder" else levels.astype(np.float64)
    measured = _CLASSES[family](
        SimpleITK.GetImageFromArray(picture[None]),
        SimpleITK.GetImageFromArray(mask[None].astype(np.uint8)),
        force2D=True,
        distances=list(distances),
        levels=levels[None],
    )
    # pyradiomics gives NaN where no two pixels of the mask meet; such a tile has no texture.
    found: Numbers = np.nan_to_num(measured.features(FAMILIES[family]), nan=0.0)
    return found


class _KnownLevels:
    """Mixin for pyradiomics's classes, for an image of known levels: counted from 1, 0 outside the mask.

    pyradiomics's own binning finds the extremes in a Python loop over pixels, which takes longer than
    most matrices.
    """

    settings: dict[str, Any]
    coefficients: dict[str, Any]

    def _applyBinning(self, _: Numbers) -> npt.NDArray[np.int64]:  # noqa: N802  (pyradiomics's name)
        levels: npt.NDArray[np.int64] = self.settings["levels"]
        present = np.flatnonzero(np.bincount(levels[levels > 0]))
        self.coefficients["grayLevels"] = present
        self.coefficients["Ng"] = int(present[-1])
        return levels

    def features(self, names: Collection[str]) -> Numbers:
        """Features by name, float64 (n,)."""
        self.logger = _SILENT_LOGGER
        with np.errstate(invalid="ignore"), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice", RuntimeWarning)
            self._initCalculation()  # type: ignore[attr-defined]  # of the class mixed in
            return np.array([float(np.squeeze(getattr(self, f"get{name}FeatureValue")())) for name in names])


class _Cooccurrence(_KnownLevels, RadiomicsGLCM):  # type: ignore[misc]  # the package carries no types
    """pyradiomics's GLCM, but for two roots of a difference that rounding can make negative.

    pyradiomics then leaves that direction out of Imc2 and MCC with a warning; the value is 0.
    """

    def getImc2FeatureValue(self) -> float:  # noqa: N802
        """Informational measure of correlation 2: sqrt(1 - exp(-2 (HXY2 - HXY)))."""
        independent = self.coefficients["px"] * self.coefficients["py"]
        entropy = -np.sum(independent * np.log2(independent + self.coefficients["eps"]), (1, 2))
        gain = np.maximum(entropy - self.coefficients["HXY"], 0)
        return float(np.mean(np.sqrt(1 - np.exp(-2 * gain))))

    def getMCCFeatureValue(self) -> float:  # noqa: N802
        """Maximal correlation coefficient: root of the second largest eigenvalue of Q; 1 for one level."""
        joint = np.moveaxis(self.P_glcm[0], 2, 0)
        if joint.shape[1] < 2:
            return 1.0
        independent = np.moveaxis((self.coefficients["px"] * self.coefficients["py"])[0], 2, 0)
        q = (joint / (independent + self.coefficients["eps"])) @ joint.transpose(0, 2, 1)
        second = np.sort(np.linalg.eigvals(q).real, axis=1)[:, -2]
        return float(np.mean(np.sqrt(np.maximum(second, 0))))


_CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        "glcm": _Cooccurrence,
        **{
            family: type(family, (_KnownLevels, base), {})
            for family, base in (
                ("firstorder", RadiomicsFirstOrder),
                ("glrlm", RadiomicsGLRLM),
                ("glszm", RadiomicsGLSZM),
                ("gldm", RadiomicsGLDM),
                ("ngtdm", RadiomicsNGTDM),
            )
        },
    }
)
