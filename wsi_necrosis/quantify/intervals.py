"""The interval of percent viable: a bootstrap over blocks of tissue, and over calibration patients where there are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE
from wsi_necrosis.model.quantity import ConfusionShares, Estimator
from wsi_necrosis.quantify.cells import Cells
from wsi_necrosis.quantify.variogram import correlation_range_mm
from wsi_necrosis.settings.run import QuantifySettings

logger = logging.getLogger(__name__)

TARGET = "expected over the tumour that this section stands for"
METHOD = "block bootstrap, expanded percentiles"
METHOD_PATIENTS = (
    "block bootstrap, each draw corrected by the smoothed errors on one calibration patient, percentiles"
)
COVERS = "sampling of tissue only; classifier error, which needs 10 calibration patients, is not covered"
COVERS_PATIENTS = "sampling of tissue and classifier error, as it differs between {} calibration patients"
TOO_FEW_BLOCKS = "interval: not available (too little tissue)"
ONE_BLOCK = "interval: not available (less than two blocks of {:g} mm hold {})"
NO_VIABLE = "interval: not available (no viable cell: resampled tissue has none either)"
NO_NON_VIABLE = "interval: not available (no cell of non-viable tumour: resampled tissue has none either)"
RANGES_A_BLOCK = 1.6  # least side of a block in ranges of the variogram, with `block_mm: auto`
SMOOTHING = 0.5  # of the errors on patients, in standard deviations
# True variance of a mean over the bootstrap's, with blocks of 1.6 ranges of a spherical variogram.
NEIGHBOURS = 1.44

Sums = NDArray[np.float64]  # pixels of the three classes


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
    covers_classifier : bool
        Whether classifier error is among them; without it the interval is not that of the percentage.
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
    covers_classifier: bool
    block_mm: float
    n_blocks: int
    n_tumour_blocks: int


def percent_viable(viable: float, non_viable: float) -> float:
    """Percent viable, 0 to 100, from the viable and the non-viable area."""
    return 100 * viable / (viable + non_viable)


def bootstrap_interval(
    cells: Cells,
    settings: QuantifySettings,
    estimator: Estimator,
    patients: Sequence[ConfusionShares] = (),
) -> Interval | str:
    """Interval of an estimator's percent viable over resampled square blocks of tissue, or why there is none.

    Labels correlate over some mm, so blocks of that size, and not tiles, are drawn with replacement.

    Parameters
    ----------
    cells : Cells
        Of a slide.
    settings : QuantifySettings
        With `block_mm: auto` a block is 1.6 ranges of the slide's own variogram, and at least `small_block_mm`.
    estimator : {"soft", "by_class"}
        How a cell counts.
    patients : sequence of ConfusionShares
        How the model erred on calibration patients (`model.quantity`).
    """
    for block_mm in _sides(cells, settings, estimator):
        blocks, n_tumour = _blocks(cells, block_mm, estimator)
        if n_tumour >= settings.min_blocks:
            break
    else:
        return TOO_FEW_BLOCKS
    for kind, name in ((VIABLE, "viable tumour"), (NON_VIABLE, "non-viable tumour")):
        if np.count_nonzero(blocks[:, kind]) < 2:
            return ONE_BLOCK.format(block_mm, name)
    low, high = interval_of_blocks(
        blocks, settings.confidence, settings.bootstrap_draws, settings.seed, patients
    )
    logger.debug("bootstrap over %d blocks of %g mm, %d with tumour", len(blocks), block_mm, n_tumour)
    return Interval(
        low=low,
        high=high,
        confidence=settings.confidence,
        target=TARGET,
        method=METHOD_PATIENTS if patients else METHOD,
        covers=COVERS_PATIENTS.format(len(patients)) if patients else COVERS,
        covers_classifier=bool(patients),
        block_mm=block_mm,
        n_blocks=len(blocks),
        n_tumour_blocks=n_tumour,
    )


def interval_of_blocks(
    blocks: Sums,
    confidence: float,
    draws: int,
    seed: int,
    patients: Sequence[ConfusionShares] = (),
) -> tuple[float, float]:
    """Low and high end in percent, by `scipy.stats.bootstrap` over blocks.

    Without patients the percentiles are expanded (Hesterberg, The American Statistician 69, 2015, 371-386) by Student's
    t and n / (n - 1), as blocks are few, and by `NEIGHBOURS`, as blocks that touch resemble one another. With patients,
    each draw is corrected by the errors on one of them, drawn at random and smoothed, so that the interval holds how
    patients differ.

    Parameters
    ----------
    blocks : float array (n, 3)
        Area of each class in each block.
    confidence : float
        Nominal coverage.
    draws, seed : int
        Of the bootstrap.
    patients : sequence of ConfusionShares
        Errors of the classifier on each.

    Examples
    --------
    >>> blocks = np.array([[0.0, 8.0, 2.0], [0.0, 5.0, 5.0], [0.0, 6.0, 4.0], [0.0, 9.0, 1.0]] * 5)
    >>> [round(end) for end in interval_of_blocks(blocks, 0.95, 2000, 1)]
    [22, 38]
    """
    from scipy.stats import bootstrap, norm, t  # takes a second to import

    rng = np.random.default_rng(seed)
    level, n = confidence, len(blocks)
    if not patients:
        level = 2 * norm.cdf(t.ppf((1 + confidence) / 2, n - 1) * np.sqrt(NEIGHBOURS * n / (n - 1))) - 1
    found = bootstrap(
        tuple(blocks.T),
        _corrected(patients, rng) if patients else _read,
        paired=True,
        vectorized=True,
        n_resamples=draws,
        confidence_level=level,
        method="percentile",
        rng=rng,
    ).confidence_interval
    return float(found.low), float(found.high)


def _read(*areas: Sums, axis: int) -> Sums:
    return _percent(areas[VIABLE].sum(axis=axis), areas[NON_VIABLE].sum(axis=axis))


def _corrected(patients: Sequence[ConfusionShares], rng: np.random.Generator) -> Callable[..., Sums]:
    """Percent viable that would be read as these areas, each draw by the errors on one patient.

    These are moved by `SMOOTHING` times how another one's errors differ from the mean: few patients do not hold the
    extremes that a new one may have.
    """
    from scipy.optimize import nnls  # as `bootstrap`

    errors = np.asarray(patients, np.float64)
    apart = SMOOTHING * (errors - errors.mean(axis=0))

    def statistic(*areas: Sums, axis: int) -> Sums:
        read = np.stack([each.sum(axis=axis) for each in areas], axis=-1)
        flat = read.reshape(-1, len(CLASSES))
        one, other = rng.integers(len(errors), size=(2, len(flat)))
        drawn = np.clip(errors[one] + apart[other], 0, 1)
        true = np.array([nnls(each.T, area / area.sum())[0] for each, area in zip(drawn, flat, strict=True)])
        return _percent(true[:, VIABLE], true[:, NON_VIABLE]).reshape(read.shape[:-1])

    return statistic


def _percent(viable: Sums, non_viable: Sums) -> Sums:
    """Percent viable; 50 where a draw holds no tumour, so that it widens neither end."""
    tumour = viable + non_viable
    share: Sums = np.divide(viable, tumour, out=np.full(np.shape(tumour), 0.5), where=tumour > 0)
    return 100 * share


def _sides(cells: Cells, settings: QuantifySettings, estimator: Estimator) -> tuple[float, ...]:
    """Sides of a block to try, the best first."""
    if settings.block_mm != "auto":
        return settings.block_mm, settings.small_block_mm
    area = cells.by(estimator)
    tumour = area[:, NON_VIABLE] + area[:, VIABLE]
    held = tumour > 0
    length = correlation_range_mm(cells.centre_mm[held], area[held, VIABLE] / tumour[held], settings.seed)
    return () if length is None else (max(settings.small_block_mm, RANGES_A_BLOCK * length),)


def _blocks(cells: Cells, block_mm: float, estimator: Estimator) -> tuple[Sums, int]:
    """Pixels of each class (n, 3) of the blocks with tumour pixels, and how many of them hold tumour."""
    kept = cells.classed & (cells.tissue > 0)
    at = np.floor(cells.centre_mm[kept] / block_mm).astype(np.int64)
    names, index = np.unique(at, axis=0, return_inverse=True)
    area = cells.by(estimator)[kept]
    sums: Sums = np.stack([np.bincount(index, each, len(names)) for each in area.T], axis=-1).astype(
        np.float64
    )
    holds_tumour = sums[:, NON_VIABLE] + sums[:, VIABLE] > 0
    if estimator == "by_class":
        return sums[holds_tumour], int(holds_tumour.sum())
    # soft sums are above 0 wherever there is tissue
    with_tumour = np.bincount(index, cells.likely_tumour[kept], len(names)) > 0
    return sums[holds_tumour], int(with_tumour.sum())
