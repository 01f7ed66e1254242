"""The interval of percent viable."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import NON_VIABLE, VIABLE
from wsi_necrosis.model.quantity import Estimator
from wsi_necrosis.quantify.cells import Cells
from wsi_necrosis.settings.run import QuantifySettings

logger = logging.getLogger(__name__)

TARGET = "expected over the tumour that this section stands for"
METHOD = "block bootstrap, percentiles"
COVERS = "sampling of tissue only; classifier error, which needs 10 calibration patients, is not covered"
TOO_FEW_BLOCKS = "interval: not available (too little tissue)"
NO_VIABLE = "interval: not available (no viable cell: resampled tissue has none either)"
NO_NON_VIABLE = "interval: not available (no cell of non-viable tumour: resampled tissue has none either)"


@dataclass(frozen=True)
class Interval:
    """Interval of percent viable, with what it estimates and which errors it covers.

    Attributes
    ----------
    low, high : float
        Ends in percent.
    confidence : float
        Nominal coverage.
    target, method, covers : str
        Quantity that the interval estimates, method, and errors that it covers.
    block_mm : float
        Side of a bootstrap block.
    n_blocks, n_tumour_blocks : int
        Blocks resampled, and those with tumour: by class, or with a cell that is at least as likely tumour as not.
    """

    low: float
    high: float
    confidence: float
    target: str
    method: str
    covers: str
    block_mm: float
    n_blocks: int
    n_tumour_blocks: int


def percent_viable(viable: float, non_viable: float) -> float:
    """Percent viable, 0 to 100, from the viable and the non-viable area."""
    return 100 * viable / (viable + non_viable)


def bootstrap_interval(cells: Cells, settings: QuantifySettings, estimator: Estimator) -> Interval | None:
    """Percentile interval of an estimator's percent viable over resampled square blocks of tissue.

    Labels correlate over 4 to 6 mm, so blocks of that size, and not tiles, are drawn with replacement;
    each draw gives a ratio of sums. Without enough blocks that hold tumour there is no interval.
    """
    for block_mm in (settings.block_mm, settings.small_block_mm):
        blocks, n_tumour = _blocks(cells, block_mm, estimator)
        if n_tumour >= settings.min_blocks:
            break
    else:
        return None
    rng = np.random.default_rng(settings.seed)
    n = len(blocks)
    times = rng.multinomial(n, np.full(n, 1 / n), size=settings.bootstrap_draws)
    sums = times @ blocks
    tail = 100 * (1 - settings.confidence) / 2
    low, high = np.percentile(100 * sums[:, 0] / sums.sum(axis=1), [tail, 100 - tail]).tolist()
    logger.debug("bootstrap over %d blocks of %g mm, %d with tumour", n, block_mm, n_tumour)
    return Interval(low, high, settings.confidence, TARGET, METHOD, COVERS, block_mm, n, n_tumour)


def _blocks(cells: Cells, block_mm: float, estimator: Estimator) -> tuple[NDArray[np.float64], int]:
    """Viable and non-viable pixels (n, 2) of the blocks where their sum is not 0, and how many blocks hold tumour."""
    kept = cells.classed & (cells.tissue > 0)
    at = np.floor(cells.centre_mm[kept] / block_mm).astype(np.int64)
    names, index = np.unique(at, axis=0, return_inverse=True)
    area = cells.by(estimator)[kept]
    sums = np.stack([np.bincount(index, area[:, k], len(names)) for k in (VIABLE, NON_VIABLE)], axis=-1)
    holds_tumour = sums.sum(axis=1) > 0
    if estimator == "by_class":
        return sums[holds_tumour], int(holds_tumour.sum())
    # soft sums are above 0 wherever there is tissue
    with_tumour = np.bincount(index, cells.likely_tumour[kept], len(names)) > 0
    return sums[holds_tumour], int(with_tumour.sum())
