"""The families of features, and the names in each."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# Names are pyradiomics's own. TotalEnergy is Energy times the area of a pixel, which is 1 here, and SumAverage
# is twice JointAverage: of the shipped recipes only `paper` has one of them, TotalEnergy.
FIRST_ORDER = (
    "10Percentile", "90Percentile", "Energy", "Entropy", "InterquartileRange", "Kurtosis", "Maximum",
    "Mean", "MeanAbsoluteDeviation", "Median", "Minimum", "Range", "RobustMeanAbsoluteDeviation",
    "RootMeanSquared", "Skewness", "TotalEnergy", "Uniformity", "Variance",
)  # fmt: skip
GLCM = (
    "Autocorrelation", "ClusterProminence", "ClusterShade", "ClusterTendency", "Contrast", "Correlation",
    "DifferenceAverage", "DifferenceEntropy", "DifferenceVariance", "Id", "Idm", "Idmn", "Idn", "Imc1",
    "Imc2", "InverseVariance", "JointAverage", "JointEnergy", "JointEntropy", "MCC", "MaximumProbability",
    "SumAverage", "SumEntropy", "SumSquares",
)  # fmt: skip
GLRLM = (
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance",
    "HighGrayLevelRunEmphasis", "LongRunEmphasis", "LongRunHighGrayLevelEmphasis",
    "LongRunLowGrayLevelEmphasis", "LowGrayLevelRunEmphasis", "RunEntropy", "RunLengthNonUniformity",
    "RunLengthNonUniformityNormalized", "RunPercentage", "RunVariance", "ShortRunEmphasis",
    "ShortRunHighGrayLevelEmphasis", "ShortRunLowGrayLevelEmphasis",
)  # fmt: skip
GLSZM = (
    "GrayLevelNonUniformity", "GrayLevelNonUniformityNormalized", "GrayLevelVariance",
    "HighGrayLevelZoneEmphasis", "LargeAreaEmphasis", "LargeAreaHighGrayLevelEmphasis",
    "LargeAreaLowGrayLevelEmphasis", "LowGrayLevelZoneEmphasis", "SizeZoneNonUniformity",
    "SizeZoneNonUniformityNormalized", "SmallAreaEmphasis", "SmallAreaHighGrayLevelEmphasis",
    "SmallAreaLowGrayLevelEmphasis", "ZoneEntropy", "ZonePercentage", "ZoneVariance",
)  # fmt: skip
GLDM = (
    "DependenceEntropy", "DependenceNonUniformity", "DependenceNonUniformityNormalized",
    "DependenceVariance", "GrayLevelNonUniformity", "GrayLevelVariance", "HighGrayLevelEmphasis",
    "LargeDependenceEmphasis", "LargeDependenceHighGrayLevelEmphasis",
    "LargeDependenceLowGrayLevelEmphasis", "LowGrayLevelEmphasis", "SmallDependenceEmphasis",
    "SmallDependenceHighGrayLevelEmphasis", "SmallDependenceLowGrayLevelEmphasis",
)  # fmt: skip
NGTDM = ("Busyness", "Coarseness", "Complexity", "Contrast", "Strength")
_NUCLEUS_STATISTICS = tuple(
    f"{property_}_{statistic}"
    for property_ in ("area_um2", "eccentricity", "solidity", "od")
    for statistic in ("mean", "std", "10Percentile", "Median", "90Percentile")
)
NUCLEI = (
    "density_per_mm2", "area_fraction", *_NUCLEUS_STATISTICS, "neighbour_um_mean", "neighbour_um_std", "pale_share",
)  # fmt: skip
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "firstorder": FIRST_ORDER,
        "glcm": GLCM,
        "glrlm": GLRLM,
        "glszm": GLSZM,
        "gldm": GLDM,
        "ngtdm": NGTDM,
        "nuclei": NUCLEI,
    }
)
