"""Radiomic features of tiles: numbers that describe stain, texture and nuclei."""

from __future__ import annotations

import logging
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from wsi_necrosis.errors import MissingExtraError
from wsi_necrosis.radiomics.recipe import RECIPES, Feature, NucleusRule, Recipe, find_recipe

__all__ = ["RECIPES", "Engine", "Feature", "NucleusRule", "Recipe", "extract", "find_recipe", "prepare"]

if TYPE_CHECKING:
    from wsi_necrosis.radiomics.tile import MeasureImage

Engine = Literal["compiled", "reference"]
log = logging.getLogger(__name__)


def extract(
    tiles: npt.NDArray[np.uint8],
    masks: npt.NDArray[np.bool_],
    recipe: Recipe,
    mpp: float,
    *,
    engine: Engine = "compiled",
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Features of a batch of tiles; every tile is measured by itself.

    First-order and texture features equal pyradiomics's for a single-slice float image of the channel,
    clipped to the recipe's range, if bin edges are exact (see `Recipe`), with the settings `binWidth`
    (`recipe.od_max / recipe.bins` for densities, `recipe.luminance_width` for luminance),
    `force2D = True`, `distances = recipe.distances`, `symmetricalGLCM = True`, `gldm_a = 0`, and neither
    weighting, normalisation nor resampling. Levels are counted from the lowest bin that the mask holds,
    as pyradiomics counts them.

    Every value is finite for every input. Where a mask is empty its features are 0, and so is what needs
    neighbours where no two pixels of the mask touch. A tile of one colour has the values that
    pyradiomics gives it (spread 0, Correlation and MCC 1). Energy is a sum over pixels and therefore
    grows with the tile and its tissue.

    The function is safe to call from several threads at once; the compiled engine releases the
    interpreter's lock, the reference engine mostly holds it.

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
    engine
        "compiled", or "reference": pyradiomics itself, many times slower. Nuclei are found and described
        by the same code in both.

    Returns
    -------
    float64 of shape (n, F), and the F names of its columns, `recipe.names`.

    Raises
    ------
    ValueError
        Shapes or types do not fit each other, `mpp` is not positive, or the engine is unknown.
    MissingExtraError
        pyradiomics, which the reference engine needs, is not installed.

    Examples
    --------
    >>> import numpy as np, wsi_necrosis as wn
    >>> tiles = np.full((1, 8, 8, 3), 255, np.uint8)
    >>> values, names = wn.extract(tiles, np.ones((1, 8, 8), bool), wn.find_recipe("phantom"), mpp=1.0)
    >>> names[0], values.tolist()
    ('haematoxylin_tissue_firstorder_Mean', [[0.0, 0.0, 0.0]])
    """
    if tiles.dtype != np.uint8 or tiles.ndim != 4 or tiles.shape[-1] != 3:
        raise ValueError(f"tiles are uint8 of shape (n, h, w, 3), not {tiles.dtype} of {tiles.shape}")
    if masks.dtype != np.bool_ or masks.shape != tiles.shape[:3]:
        raise ValueError(f"masks are bool of shape {tiles.shape[:3]}, not {masks.dtype} of {masks.shape}")
    if engine not in ("compiled", "reference"):
        raise ValueError(f"engine is 'compiled' or 'reference', not {engine!r}")
    if not mpp > 0:
        raise ValueError(f"mpp is the side of a pixel in um and above 0, not {mpp}")
    if not recipe.features:
        return np.empty((len(tiles), 0)), ()
    # numba takes half a second to import; a run that fails early should not wait for it.
    from wsi_necrosis.radiomics.tile import measure_tiles

    measure_image = _image_engine(engine)
    return measure_tiles(tiles, masks, recipe, mpp, measure_image), recipe.names


def _image_engine(engine: Engine) -> MeasureImage:
    if engine == "compiled":
        from wsi_necrosis.radiomics.compiled import measure_image  # imports numba, as in `extract`

        return measure_image
    if find_spec("radiomics") is None:
        raise MissingExtraError(
            "the reference engine of radiomics needs pyradiomics, not installed here; pip install "
            "'wsi-necrosis[radiomics]', or give --set radiomics.engine=compiled"
        )
    from wsi_necrosis.radiomics import reference  # pyradiomics takes a second to import

    return reference.measure_image


def prepare(recipe: Recipe, mpp: float, engine: Engine = "compiled") -> None:
    """Load the engine, so that the first block does not wait for it.

    The first call on a machine compiles the kernels, which takes up to half a minute and is logged; later
    processes load them from numba's cache.
    """
    if not recipe.features:
        return
    log.info(
        "preparing the %s radiomics engine; the first time on a machine takes up to half a minute", engine
    )
    start = time.perf_counter()
    noise = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    for mask in (np.ones((1, 16, 16), bool), np.eye(16, dtype=bool)[None]):
        extract(noise, mask, recipe, mpp, engine=engine)
    log.info("%s radiomics engine ready in %.1f s", engine, time.perf_counter() - start)
