"""Recipes: which features, of which channel, over which mask, with which bins.

A recipe says what is measured, not how it is computed. It is saved in the model's checkpoint, because a
network needs the features that it was trained with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.outside import shortened
from wsi_necrosis.radiomics.families import FAMILIES

OD_CHANNELS = ("haematoxylin", "eosin", "grey")
CHANNELS = (*OD_CHANNELS, "luminance")
MASKS = ("tissue", "nuclei")

STRICT = ConfigDict(strict=True, allow_inf_nan=False)  # types of what is read from a checkpoint
FARTHEST_UM = 500.0  # of the lengths of the nucleus rule; a longer one takes memory and time without end
MOST_BINS = 255  # levels are kept in a byte, and 0 is outside the mask
FARTHEST = 8  # largest distance, in pixels
STAIN_VECTORS = "fixed"  # those of Ruifrok and Johnston; a checkpoint's fingerprint covers the name
REDUNDANT = ("TotalEnergy", "SumAverage")


@dataclass(frozen=True)
class Feature:
    """One number about a tile.

    Attributes
    ----------
    family
        "nuclei" describes the nuclei themselves and always has the channel "haematoxylin" and the mask
        "nuclei"; every other family describes a channel's pixels under a mask.
    name
        pyradiomics's name, or one of `families.NUCLEI`.
    channel, mask
        One of `CHANNELS`, one of `MASKS`.

    Raises
    ------
    SettingsError
        One of the four is unknown.
    """

    family: str
    name: str
    channel: str = "haematoxylin"
    mask: str = "tissue"
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        _require_known("family", self.family, FAMILIES)
        _require_known(f"{self.family} feature", self.name, FAMILIES[self.family])
        _require_known("channel", self.channel, CHANNELS)
        _require_known("mask", self.mask, MASKS)
        if self.family == "nuclei" and (self.channel, self.mask) != ("haematoxylin", "nuclei"):
            raise SettingsError(
                f"radiomics: nuclei feature {self.name!r} is of channel 'haematoxylin' and mask 'nuclei', "
                f"not {self.channel!r} and {self.mask!r}"
            )

    @property
    def full_name(self) -> str:
        """Name of the feature's column, such as "eosin_tissue_glcm_Contrast" or "nuclei_area_fraction"."""
        if self.family == "nuclei":
            return f"nuclei_{self.name}"
        return f"{self.channel}_{self.mask}_{self.family}_{self.name}"


@dataclass(frozen=True)
class NucleusRule:
    """What counts as a nucleus; chosen by eye on tiles of 1.0 um/px, where nuclei are 6 to 12 px wide.

    A fixed rule and not one fitted to each tile: a tile without nuclei must find none.

    Attributes
    ----------
    min_od
        Haematoxylin density below which nothing is a nucleus; pale, necrotic ghosts fall below it.
    min_contrast
        Density by which a nucleus exceeds the tissue around it, so that blue matrix is no nucleus.
    background_um
        Side of the square over whose tissue the surroundings are averaged.
    max_residual_share
        Residual density as a share of haematoxylin; red blood cells exceed it.
    blur_um
        Standard deviation of the Gaussian that takes pixel noise away first.
    open_um
        Radius of the disc that a nucleus must hold; fibres do not hold it.
    min_um2, max_um2
        Areas outside these limits are debris, or sheets of stain.
    pale_od
        Mean haematoxylin density below which a nucleus is pale: the lower quartile of the nuclei of 48
        osteosarcoma tiles at 0.5 um/px.

    Raises
    ------
    SettingsError
        A length or an area is out of range.
    """

    min_od: float = 0.5
    min_contrast: float = 0.15
    background_um: float = 41.0
    max_residual_share: float = 0.6
    blur_um: float = 0.8
    open_um: float = 1.0
    min_um2: float = 20.0
    max_um2: float = 500.0
    pale_od: float = 0.85
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        lengths = (self.blur_um, self.background_um, self.open_um)
        if min(lengths) < 0 or max(lengths) > FARTHEST_UM or not 0 <= self.min_um2 <= self.max_um2:
            raise SettingsError(
                f"radiomics: lengths and areas of the nucleus rule do not fit one another: {self}"
            )


@dataclass(frozen=True)
class Recipe:
    """A named list of features and all that fixes their values.

    Attributes
    ----------
    name
        By which the recipe is known.
    features
        In the order of the columns; none twice. A recipe without features is for a network that looks at
        pixels alone.
    bins, od_max
        A fixed number of bins over a fixed range: densities are clipped to [0, od_max] and fall into
        `bins` equal bins, the same for every tile and channel. Where `od_max / bins` is a binary
        fraction, as in the shipped recipes, bin edges are exact.
    luminance_width
        A fixed bin width, in grey levels of 0 to 255, for the channel "luminance"; in quarters, so that
        bin edges are exact.
    distances
        Largest of the row and column offsets at which GLCM, GLDM and NGTDM compare pixels, in pixels.
    nucleus
        What counts as a nucleus.

    Raises
    ------
    SettingsError
        A feature comes twice, or a number is out of range.
    """

    name: str
    features: tuple[Feature, ...]
    bins: int = 32
    od_max: float = 2.0
    luminance_width: float = 5.0
    distances: tuple[int, ...] = (1,)
    nucleus: NucleusRule = NucleusRule()
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise SettingsError(f"radiomics recipe {self.name!r} lists {', '.join(twice)} twice; keep one")
        if type(self.bins) is not int or not 2 <= self.bins <= MOST_BINS or not 0 < self.od_max < 6:
            raise SettingsError(
                f"radiomics recipe {self.name!r}: bins are 2 to {MOST_BINS} and od_max is above 0 and below 6, "
                f"not {self.bins} and {self.od_max}"
            )
        if not 1.25 <= self.luminance_width <= 128 or self.luminance_width * 4 % 1:
            raise SettingsError(
                f"radiomics recipe {self.name!r}: luminance_width is a whole number of quarters of a grey level "
                f"from 1.25 to 128, not {self.luminance_width}"
            )
        allowed = range(1, FARTHEST + 1)
        whole = all(type(distance) is int and distance in allowed for distance in self.distances)
        if not self.distances or not whole or len(set(self.distances)) < len(self.distances):
            raise SettingsError(
                f"radiomics recipe {self.name!r}: distances are whole numbers from 1 to {FARTHEST}, none twice, "
                f"not {self.distances}"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Full names of the features, in the order of the columns."""
        return tuple(feature.full_name for feature in self.features)

    @property
    def needs_nuclei(self) -> bool:
        """Whether any feature looks at nuclei."""
        return any(feature.mask == "nuclei" for feature in self.features)

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as plain JSON types; `from_dict` reads it back."""
        tree = asdict(self)
        tree["features"] = list(tree["features"])
        tree["distances"] = list(tree["distances"])
        return {**tree, "stains": STAIN_VECTORS}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Recipe:
        """Read a recipe from the mapping that `to_dict` wrote.

        Raises
        ------
        SettingsError
            A key is unknown or missing, or a value is out of range.
        """
        _require_keys("recipe", tree, _keys(cls) | {"stains"})
        for feature in tree["features"]:
            _require_keys("feature", feature, _keys(Feature))
        _require_keys("nucleus", tree["nucleus"], _keys(NucleusRule))
        if tree["stains"] != STAIN_VECTORS:
            raise SettingsError(
                f"radiomics recipe {tree['name']!r}: stains can only be {STAIN_VECTORS!r}, not {tree['stains']!r}; "
                "train the model again"
            )
        try:
            text = json.dumps({key: value for key, value in tree.items() if key != "stains"})
            return TypeAdapter(cls).validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise SettingsError(f"radiomics recipe: {where}: {shortened(first['msg'])}") from None


def find_recipe(name: str) -> Recipe:
    """Return the shipped recipe of this name.

    Raises
    ------
    SettingsError
        There is none; the message lists those that exist.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> len(wn.find_recipe("fast").names)
    239
    """
    _require_known("recipe", name, RECIPES)
    return RECIPES[name]


def _require_known(kind: str, value: str, values: Iterable[str]) -> None:
    if value not in values:
        raise SettingsError(f"radiomics {kind} {value!r} is unknown; known are {', '.join(values)}")


def _keys(schema: type) -> set[str]:
    return {field.name for field in fields(schema)}


def _require_keys(kind: str, tree: Mapping[str, Any], expected: set[str]) -> None:
    for problem, keys in (("unknown", set(tree) - expected), ("missing", expected - set(tree))):
        if keys:
            raise SettingsError(f"radiomics {kind}: {problem} {', '.join(sorted(keys))}")


def _features(
    families: Iterable[str], channels: Iterable[str], mask: str = "tissue", without: Iterable[str] = REDUNDANT
) -> tuple[Feature, ...]:
    """Every feature of these families, of each channel under one mask, without some names."""
    return tuple(
        Feature(family, name, channel, mask)
        for channel in channels
        for family in families
        for name in FAMILIES[family]
        if name not in without
    )


STAINS = ("haematoxylin", "eosin")
TEXTURE = ("glcm", "glrlm", "glszm", "gldm", "ngtdm")
_FULL = (
    _features(("firstorder", *TEXTURE), (*STAINS, "grey"))
    + _features(("firstorder", *TEXTURE), ("haematoxylin",), "nuclei")
    + _features(("nuclei",), ("haematoxylin",), "nuclei")
)
# Reasons are in docs/radiomics.md: run and zone matrices cost most and add least. Also left out are features that
# clipping determines, and features of nuclei that a slight change of stain, compression or pixel size alters at
# 1.0 um per pixel.
_FAST_FAMILIES = ("firstorder", "glcm", "gldm", "ngtdm")
_CLIPPED = ("Minimum", "Maximum", "Range")
_UNSTABLE = (
    "area_um2_10Percentile", "eccentricity_std", "eccentricity_10Percentile", "eccentricity_Median",
    "solidity_mean", "solidity_std", "solidity_10Percentile", "solidity_Median", "solidity_90Percentile",
    "neighbour_um_std",
)  # fmt: skip
_FAST = tuple(
    feature
    for feature in _FULL
    if feature.family in {*_FAST_FAMILIES, "nuclei"} and feature.name not in {*_CLIPPED, *_UNSTABLE}
)

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "full": Recipe("full", _FULL),
        "fast": Recipe("fast", _FAST),
        # as in arXiv 2601.09416, but over tissue and not over the whole tile with its glass
        "paper": Recipe("paper", _features(("firstorder",), ("luminance",), without=())),
        "none": Recipe("none", ()),
        "phantom": Recipe(
            "phantom", tuple(Feature("firstorder", "Mean", channel) for channel in OD_CHANNELS)
        ),
    }
)
