"""The digital phantom of the Image Biomarker Standardisation Initiative, 2D, by slice, without merging.

Values as published (Zwanenburg et al., arXiv 1612.07003, "2D, averaged"), to their three digits. IBSI has
no value for MCC. Its neighbouring grey level dependence (distance 1, coarseness 0) is pyradiomics's GLDM.
"""

from __future__ import annotations

import numpy as np
import pytest

from wsi_necrosis.radiomics import compiled, reference
from wsi_necrosis.radiomics.families import FAMILIES
from wsi_necrosis.radiomics.planes import Image

SLICES = (
    "14411 14611 41641 44641",
    "14411 11611 01311 44611",
    "14400 11111 11011 11611",
    "14400 11111 11111 11611",
)  # 0 lies outside the region

PUBLISHED = {
    "glcm": {
        "MaximumProbability": 0.519, "JointAverage": 2.14, "SumSquares": 2.69, "JointEntropy": 2.05,
        "DifferenceAverage": 1.42, "DifferenceVariance": 2.90, "DifferenceEntropy": 1.40, "SumAverage": 4.28,
        "ClusterTendency": 5.47, "SumEntropy": 1.60, "JointEnergy": 0.368, "Contrast": 5.28, "Id": 0.678,
        "Idn": 0.851, "Idm": 0.619, "Idmn": 0.899, "InverseVariance": 0.0567, "Correlation": -0.0121,
        "Autocorrelation": 5.09, "ClusterShade": 7.00, "ClusterProminence": 79.1, "Imc1": -0.155, "Imc2": 0.487,
    },
    "glrlm": {
        "ShortRunEmphasis": 0.641, "LongRunEmphasis": 3.78, "LowGrayLevelRunEmphasis": 0.604,
        "HighGrayLevelRunEmphasis": 9.82, "ShortRunLowGrayLevelEmphasis": 0.294,
        "ShortRunHighGrayLevelEmphasis": 8.57, "LongRunLowGrayLevelEmphasis": 3.14,
        "LongRunHighGrayLevelEmphasis": 17.4, "GrayLevelNonUniformity": 5.20,
        "GrayLevelNonUniformityNormalized": 0.460, "RunLengthNonUniformity": 6.12,
        "RunLengthNonUniformityNormalized": 0.492, "RunPercentage": 0.627, "GrayLevelVariance": 3.35,
        "RunVariance": 0.761, "RunEntropy": 2.17,
    },
    "glszm": {
        "SmallAreaEmphasis": 0.363, "LargeAreaEmphasis": 43.9, "LowGrayLevelZoneEmphasis": 0.371,
        "HighGrayLevelZoneEmphasis": 16.4, "SmallAreaLowGrayLevelEmphasis": 0.0259,
        "SmallAreaHighGrayLevelEmphasis": 10.3, "LargeAreaLowGrayLevelEmphasis": 40.4,
        "LargeAreaHighGrayLevelEmphasis": 113, "GrayLevelNonUniformity": 1.41,
        "GrayLevelNonUniformityNormalized": 0.323, "SizeZoneNonUniformity": 1.49,
        "SizeZoneNonUniformityNormalized": 0.333, "ZonePercentage": 0.240, "GrayLevelVariance": 3.97,
        "ZoneVariance": 21.0, "ZoneEntropy": 1.93,
    },
    "gldm": {
        "SmallDependenceEmphasis": 0.158, "LargeDependenceEmphasis": 19.2, "LowGrayLevelEmphasis": 0.702,
        "HighGrayLevelEmphasis": 7.49, "SmallDependenceLowGrayLevelEmphasis": 0.0473,
        "SmallDependenceHighGrayLevelEmphasis": 3.06, "LargeDependenceLowGrayLevelEmphasis": 17.6,
        "LargeDependenceHighGrayLevelEmphasis": 49.5, "GrayLevelNonUniformity": 10.2,
        "DependenceNonUniformity": 3.96, "DependenceNonUniformityNormalized": 0.212, "GrayLevelVariance": 2.70,
        "DependenceVariance": 2.73, "DependenceEntropy": 2.71,
    },
    "ngtdm": {
        "Coarseness": 0.121, "Contrast": 0.925, "Busyness": 2.99, "Complexity": 10.4, "Strength": 2.88,
    },
}  # fmt: skip


@pytest.mark.parametrize("engine", [compiled, reference])
@pytest.mark.parametrize("family", list(PUBLISHED))
def test_values_are_those_published(engine, family: str) -> None:  # type: ignore[no-untyped-def]  # a module
    levels = [np.array([[int(level) for level in row] for row in s.split()], np.float32) for s in SLICES]
    found = [engine.measure_image(Image(s, s > 0, 1.0, 8.0), [family], (1,))[family] for s in levels]
    mean = dict(zip(FAMILIES[family], np.mean(found, axis=0), strict=True))
    for name, value in PUBLISHED[family].items():
        assert float(f"{mean[name]:.3g}") == pytest.approx(value), name
