"""One tile, from pixels to the features of a recipe, whatever the engine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping

import numpy as np
import numpy.typing as npt

from wsi_necrosis.radiomics.families import FAMILIES
from wsi_necrosis.radiomics.nuclei import find_nuclei
from wsi_necrosis.radiomics.nuclei_statistics import describe_nuclei
from wsi_necrosis.radiomics.planes import Image, Mask, Plane, plain, split, to_range
from wsi_necrosis.radiomics.recipe import Recipe

Numbers = npt.NDArray[np.float64]
MeasureImage = Callable[[Image, Collection[str], tuple[int, ...]], Mapping[str, Numbers]]
LUMINANCE_TOP = 256.0


def measure_tiles(
    tiles: npt.NDArray[np.uint8],
    tissue: Mask,
    recipe: Recipe,
    mpp: float,
    measure_image: MeasureImage,
) -> Numbers:
    """Features of a batch, float64 (n, F); see `wsi_necrosis.radiomics.extraction`."""
    values = np.empty((len(tiles), len(recipe.features)))
    columns = _columns(recipe)
    tiles, tissue = plain(tiles), plain(tissue)
    for row, tile, mask in zip(values, tiles, tissue, strict=True):
        planes = split(tile, _channels(recipe))
        masks = {"tissue": mask}
        if recipe.needs_nuclei:
            haematoxylin = planes["haematoxylin"]
            labels = find_nuclei(haematoxylin, planes["residual"], mask, recipe.nucleus, mpp)
            masks["nuclei"] = labels > 0
        for (channel, mask_name), families in columns.items():
            found: dict[str, Numbers] = {}
            if "nuclei" in families:
                found["nuclei"] = describe_nuclei(labels, haematoxylin, mask, recipe.nucleus, mpp)
            if families.keys() - {"nuclei"}:
                image = _image(planes[channel], masks[mask_name], channel, recipe)
                found |= measure_image(image, families, recipe.distances)
            for family, (into, places) in families.items():
                row[into] = found[family][places]
    return values


def _channels(recipe: Recipe) -> set[str]:
    channels = {feature.channel for feature in recipe.features}
    return channels | {"haematoxylin", "residual"} if recipe.needs_nuclei else channels


def _columns(recipe: Recipe) -> dict[tuple[str, str], dict[str, tuple[list[int], list[int]]]]:
    """By image (channel and mask) and family: columns of the recipe, and the places in `FAMILIES` they take."""
    found: dict[tuple[str, str], dict[str, tuple[list[int], list[int]]]] = defaultdict(dict)
    for column, feature in enumerate(recipe.features):
        families = found[feature.channel, feature.mask]
        into, places = families.setdefault(feature.family, ([], []))
        into.append(column)
        places.append(FAMILIES[feature.family].index(feature.name))
    return found


def _image(plane: Plane, mask: Mask, channel: str, recipe: Recipe) -> Image:
    if channel == "luminance":
        return Image(to_range(plane, LUMINANCE_TOP), mask, recipe.luminance_width, LUMINANCE_TOP)
    return Image(to_range(plane, recipe.od_max), mask, recipe.od_max / recipe.bins, recipe.od_max)
