"""The reference engine: pyradiomics for texture, scikit-image for nuclei, one tile after the other.

Texture equals that of pyradiomics's own extractor on a single-slice float64 image of density, clipped
to [0, od_max], with the settings `binWidth = od_max / bins`, `force2D = True`, `distances = [1]`,
`symmetricalGLCM = True` and neither weighting, normalisation nor resampling. Two properties of
pyradiomics's bins are kept: edges lie at multiples of the bin width, and levels are counted from the
lowest bin that the mask holds, which moves Autocorrelation, JointAverage, SumAverage, Idn and Idmn.

pyradiomics holds the interpreter's lock most of the time: threads gain little here.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import SimpleITK
from radiomics.glcm import RadiomicsGLCM

from wsi_necrosis.radiomics.firstorder import first_order
from wsi_necrosis.radiomics.nuclei import describe_nuclei, find_nuclei
from wsi_necrosis.radiomics.recipe import Feature, Recipe
from wsi_necrosis.stain import grey_density, separate_stains

Levels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# pyradiomics remarks on every tile that SumAverage is redundant, which the recipe's author knows. This
# logger belongs to nobody's tree, so that the user's own pyradiomics stays as loud as they set it.
_SILENCE = logging.Logger("silence", level=logging.CRITICAL + 1)


def measure(
    tiles: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_], recipe: Recipe, mpp: float
) -> npt.NDArray[np.float64]:
    """Features of a batch, float64, shape (n, F); see `wsi_necrosis.radiomics.extract`."""
    values = np.empty((len(tiles), len(recipe.features)))
    for row, (tile, mask) in enumerate(zip(tiles, masks, strict=True)):
        found = _measure_tile(tile, mask, recipe, mpp)
        values[row] = [found[feature] for feature in recipe.features]
    return values


def _measure_tile(
    tile: npt.NDArray[np.uint8], tissue: Mask, recipe: Recipe, mpp: float
) -> dict[Feature, float]:
    stains = separate_stains(tile)
    channels = {"haematoxylin": stains[..., 0], "eosin": stains[..., 1], "grey": grey_density(tile)}
    masks = {"tissue": tissue}
    by_family: dict[str, Mapping[str, float]] = {}
    if recipe.needs_nuclei:
        labels = find_nuclei(stains, tissue, recipe.nucleus, mpp)
        masks["nuclei"] = labels > 0
        by_family["nuclei"] = describe_nuclei(labels, tissue, mpp)
    found: dict[Feature, float] = {}
    for (channel, mask), features in _by_image(recipe.features).items():
        names = defaultdict(list)
        for feature in features:
            names[feature.family].append(feature.name)
        by_family |= _measure_image(channels[channel], masks[mask], names, recipe)
        found |= {feature: by_family[feature.family][feature.name] for feature in features}
    return found


def _by_image(features: Iterable[Feature]) -> dict[tuple[str, str], list[Feature]]:
    groups: dict[tuple[str, str], list[Feature]] = defaultdict(list)
    for feature in features:
        groups[feature.channel, feature.mask].append(feature)
    return groups


def _measure_image(
    density: npt.NDArray[np.float32], mask: Mask, names: Mapping[str, list[str]], recipe: Recipe
) -> dict[str, Mapping[str, float]]:
    """First-order and texture features of one channel under one mask, by family and name."""
    # Just below od_max: pyradiomics's bins are half open, so od_max itself would open one more.
    clipped = np.clip(density.astype(np.float64), 0, np.nextafter(recipe.od_max, 0))
    levels = np.minimum((clipped / (recipe.od_max / recipe.bins)).astype(np.int64), recipe.bins - 1)
    found: dict[str, Mapping[str, float]] = {}
    if "firstorder" in names:
        found["firstorder"] = first_order(clipped[mask], levels[mask], names["firstorder"])
    if "glcm" in names:
        found["glcm"] = _texture(levels, mask, names["glcm"])
    return found


def _texture(levels: Levels, mask: Mask, names: Iterable[str]) -> dict[str, float]:
    """GLCM features by name; all 0 where no two pixels of the mask touch."""
    if not _has_neighbours(mask):
        return dict.fromkeys(names, 0.0)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    inside = mask[window]
    counted = np.where(inside, levels[window] - levels[mask].min() + 1, 0)
    matrix = _Cooccurrence(
        SimpleITK.GetImageFromArray(counted[None]),
        SimpleITK.GetImageFromArray(inside[None].astype(np.uint8)),
        force2D=True,
        distances=[1],
    )
    return matrix.features(names)


def _has_neighbours(mask: Mask) -> bool:
    pairs = (
        mask[:, 1:] & mask[:, :-1],
        mask[1:] & mask[:-1],
        mask[1:, 1:] & mask[:-1, :-1],
        mask[1:, :-1] & mask[:-1, 1:],
    )
    return any(bool(pair.any()) for pair in pairs)


class _Cooccurrence(RadiomicsGLCM):  # type: ignore[misc]  # the package carries no types
    """pyradiomics's GLCM of an image whose pixels are levels already, counted from 1.

    pyradiomics's own binning finds the extremes in a Python loop over pixels, which takes longer than
    the matrix. Its Imc2 and MCC are the root of a difference that rounding can make negative; they
    then give NaN with a warning, where the value is 0.
    """

    def __init__(self, image: SimpleITK.Image, mask: SimpleITK.Image, **settings: object) -> None:
        super().__init__(image, mask, **settings)
        self.logger = _SILENCE

    def _applyBinning(self, matrix: Levels) -> Levels:  # noqa: N802  (pyradiomics's name)
        present = np.flatnonzero(np.bincount(matrix[self.maskArray]))
        self.coefficients["grayLevels"] = present
        self.coefficients["Ng"] = int(present[-1])
        return matrix

    def features(self, names: Iterable[str]) -> dict[str, float]:
        """Mean over the directions of each feature."""
        self._initCalculation()
        return {name: float(np.squeeze(getattr(self, f"get{name}FeatureValue")())) for name in names}

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
