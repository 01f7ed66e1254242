"""Radiomics: numbers that describe a tile's stain, texture and nuclei. Arrays in, array out."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import numpy.typing as npt

from wsi_necrosis.radiomics.recipe import RECIPES, Feature, NucleusRule, Recipe, find_recipe

__all__ = ["RECIPES", "Feature", "NucleusRule", "Recipe", "extract", "find_recipe"]


def extract(
    tiles: npt.NDArray[np.uint8], masks: npt.NDArray[np.bool_], recipe: Recipe, mpp: float
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Features of a batch of tiles; every tile is measured by itself.

    Densities are clipped to the recipe's fixed range and binned over it, so that tiles compare. Every
    value is finite for every input. Where a mask is empty its features are 0, and texture is 0 too
    where no two pixels of the mask touch. A tile of one colour has the values that pyradiomics gives
    it (spread 0, Correlation and MCC 1). Energy is a sum over pixels, as pyradiomics defines it, and
    therefore grows with the tile and its tissue.

    The function is safe to call from several threads at once.

    Parameters
    ----------
    tiles
        RGB, uint8, shape (n, h, w, 3).
    masks
        Tissue pixels of each tile, bool, shape (n, h, w).
    recipe
        What to measure.
    mpp
        Side of a tile's pixel in um.

    Returns
    -------
    float64 of shape (n, F), and the F names of its columns, `recipe.names`.

    Raises
    ------
    ValueError
        Shapes or types do not fit each other, or `mpp` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> tiles = np.full((1, 8, 8, 3), 255, np.uint8)
    >>> values, names = extract(tiles, np.ones((1, 8, 8), bool), find_recipe("phantom"), mpp=1.0)
    >>> names[0], values.tolist()
    ('haematoxylin_tissue_firstorder_Mean', [[0.0, 0.0, 0.0]])
    """
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
        raise ValueError(f"tiles are uint8 of shape (n, h, w, 3), not {tiles.dtype} of {tiles.shape}")
    if masks.dtype != np.bool_ or masks.shape != tiles.shape[:3]:
        raise ValueError(f"masks are bool of shape {tiles.shape[:3]}, not {masks.dtype} of {masks.shape}")
    if not mpp > 0:
        raise ValueError(f"mpp is the side of a pixel in um and above 0, not {mpp}")
    # pyradiomics takes a second to import; a run that fails early should not wait for it.
    engine = import_module("wsi_necrosis.radiomics.reference")
    values: npt.NDArray[np.float64] = engine.measure(tiles, masks, recipe, mpp)
    return values, recipe.names
