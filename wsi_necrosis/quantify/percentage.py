"""Areas of tissue by class, percent viable tumour, and its interval.

Everything is computed from the facts of the score store under the settings of the moment. Soft sums,
which split each cell's tissue by its probabilities, lead; hard sums by largest probability stand beside
them. The ledger counts each mask pixel of the slide's plane once, so its terms add up exactly.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE
from wsi_necrosis.errors import StoreError
from wsi_necrosis.scores.store import Label, Scores, State, cell_class, unusual
from wsi_necrosis.settings.loading import QuantifySettings
from wsi_necrosis.tiling.grid import Term

logger = logging.getLogger(__name__)

Status = Literal["scored", "not_evaluable"]
Reason = Literal["no_tissue", "out_of_domain", "too_little_tumour"]

TARGET = "T2: the expectation over the tumour that this section stands for"
METHOD = "block bootstrap, percentiles"
COVERS = "sampling of tissue only; classifier error, which needs 10 calibration patients, is not covered"
TOO_FEW_BLOCKS = "interval: not available (too little tissue)"
NO_PERCENTAGE = "interval: not available (no percentage)"
NO_UPPER_LIMIT = "upper limit: not available (classifier error unknown for this site)"

PROB_TOLERANCE = 1e-2  # of a sum of probabilities; half-precision networks stay well within it


@dataclass(frozen=True)
class AreaLedger:
    """Where the slide's plane went: mask pixels by the first term that applies.

    Attributes
    ----------
    outside_region, unreadable, background, abstained, non_tumour, non_viable, viable : int
        Mask pixels; the classes are those of largest probability. They add up to `total`.
    pixel_mm2 : float
        Area of one mask pixel in mm2.
    soft_mm2 : tuple of float
        The class terms' tissue split by probability, in the order of `classes.CLASSES`, in mm2.
    """

    outside_region: int
    unreadable: int
    background: int
    abstained: int
    non_tumour: int
    non_viable: int
    viable: int
    pixel_mm2: float
    soft_mm2: tuple[float, float, float]

    @property
    def px(self) -> dict[str, int]:
        """The terms in mask pixels."""
        return {f.name: getattr(self, f.name) for f in fields(self)[:-2]}

    @property
    def total(self) -> int:
        """Mask pixels of the slide's plane."""
        return sum(self.px.values())

    def area_mm2(self) -> dict[str, float]:
        """Give the terms in mm2, then the classes split by probability as `soft_<class>`."""
        hard = {name: count * self.pixel_mm2 for name, count in self.px.items()}
        return hard | {f"soft_{name}": area for name, area in zip(CLASSES, self.soft_mm2, strict=True)}


@dataclass(frozen=True)
class Interval:
    """Interval of percent viable, with what it aims at and what it leaves out.

    Attributes
    ----------
    low, high : float
        Ends in percent.
    confidence : float
        Nominal coverage.
    target, method, covers : str
        What the interval is about, how it was made, which errors it holds.
    block_mm : float
        Side of a bootstrap block.
    n_blocks, n_tumour_blocks : int
        Blocks resampled, and those with a cell that is more likely tumour than not.
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


@dataclass(frozen=True, kw_only=True)
class NecrosisScore:
    """Percent viable tumour of one slide, and everything it rests on.

    Attributes
    ----------
    status : str
        `scored`, or `not_evaluable` with a `reason` and without a percentage.
    reason : str or None
        `no_tissue` (no tissue was scored), `out_of_domain` (too much of it is unlike the training tiles)
        or `too_little_tumour`.
    policy : str
        Denominator: `tumour` is viable + non-viable tumour.
    percent_viable, percent_necrosis : float or None
        From soft sums; they add up to 100.
    percent_viable_hard : float or None
        From hard sums; None where no cell's largest probability is a tumour class.
    bounds_percent : tuple of float or None
        Percent viable if all that abstained were non-viable, and if all were viable: cells unlike the
        training tiles in full, uncertain ones where they are more likely tumour than not.
    tumour_mm2, viable_mm2 : float
        Soft areas.
    ood_mm2 : float
        Tissue that abstained because it is unlike the training tiles; part of the ledger's `abstained`.
    viable_upper_mm2 : float or None
        Upper limit of the viable area, or None with the reason in `viable_upper_reason`.
    interval : Interval or None
        Of percent viable, or None with the reason in `interval_reason`.
    ledger : AreaLedger
        The areas.
    """

    status: Status = "not_evaluable"
    reason: Reason | None = None
    policy: str
    percent_viable: float | None = None
    percent_necrosis: float | None = None
    percent_viable_hard: float | None = None
    bounds_percent: tuple[float, float] | None = None
    tumour_mm2: float
    viable_mm2: float
    ood_mm2: float
    viable_upper_mm2: float | None = None
    viable_upper_reason: str | None = NO_UPPER_LIMIT
    interval: Interval | None = None
    interval_reason: str | None = NO_PERCENTAGE
    ledger: AreaLedger

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: finite numbers and null, keys in a fixed order."""
        head = {f.name: getattr(self, f.name) for f in fields(self)}
        head["bounds_percent"] = None if self.bounds_percent is None else list(self.bounds_percent)
        head["interval"] = None if self.interval is None else asdict(self.interval)
        head["ledger"] = {
            "pixel_mm2": self.ledger.pixel_mm2,
            "total_px": self.ledger.total,
            "px": self.ledger.px,
            "mm2": self.ledger.area_mm2(),
        }
        return head


@dataclass(frozen=True)
class _Cells:
    """Cells in a row; probabilities are 0 where none count, `unusual` are those unlike the training tiles."""

    label: NDArray[np.uint8]
    unusual: NDArray[np.bool_]
    tissue: NDArray[np.int64]
    prob: NDArray[np.float64]
    centre_mm: NDArray[np.float64]

    @property
    def classed(self) -> NDArray[np.bool_]:
        """Cells that have a class."""
        return (self.label > 0) & (self.label < Label.ABSTAINED)

    @property
    def likely_tumour(self) -> NDArray[np.bool_]:
        """Cells that are at least as likely tumour as not."""
        return self.prob[:, NON_VIABLE] + self.prob[:, VIABLE] >= 0.5

    @property
    def soft(self) -> NDArray[np.float64]:
        """Tissue pixels (n, 3) of the cells that have a class, split by probability."""
        return np.asarray(self.prob * np.where(self.classed, self.tissue, 0)[:, None])


def measure(scores: Scores, settings: QuantifySettings) -> NecrosisScore:
    """Percent viable tumour of a slide under the tumour policy.

    Percent viable is 100 V / (V + X), where V and X sum each cell's tissue area times its probability of
    viable and of non-viable tumour. Cells that abstain count in neither; the bounds show what they could
    change.

    Parameters
    ----------
    scores : Scores
        A complete store.
    settings : QuantifySettings
        Thresholds and the bootstrap.

    Returns
    -------
    NecrosisScore

    Raises
    ------
    StoreError
        Tissue lies in cells that were not scored, or scores are no probabilities.
    """
    _check(scores)
    cells = _cells(scores, settings)
    ledger = _ledger(scores, cells)
    unusual_px = int(cells.tissue[cells.unusual].sum())
    score = NecrosisScore(
        policy=settings.policy,
        tumour_mm2=ledger.soft_mm2[NON_VIABLE] + ledger.soft_mm2[VIABLE],
        viable_mm2=ledger.soft_mm2[VIABLE],
        ood_mm2=unusual_px * ledger.pixel_mm2,
        ledger=ledger,
    )
    tissue_px = ledger.abstained + ledger.non_tumour + ledger.non_viable + ledger.viable
    if tissue_px == 0:
        return replace(score, reason="no_tissue")
    if unusual_px > settings.max_ood_share * tissue_px:
        return replace(score, reason="out_of_domain")
    if score.tumour_mm2 < settings.min_tumour_mm2 or score.tumour_mm2 <= 0:
        return replace(score, reason="too_little_tumour")
    percent = _percent(ledger.soft_mm2[VIABLE], ledger.soft_mm2[NON_VIABLE])
    hard = _percent(ledger.viable, ledger.non_viable) if ledger.viable + ledger.non_viable else None
    interval = _bootstrap(cells, settings)
    return replace(
        score,
        status="scored",
        percent_viable=percent,
        percent_necrosis=100 - percent,
        percent_viable_hard=hard,
        bounds_percent=_bounds(cells),
        interval=interval,
        interval_reason=TOO_FEW_BLOCKS if interval is None else None,
    )


def _check(scores: Scores) -> None:
    """Every tissue pixel lies in a scored cell, and scored cells hold probabilities."""
    scored = scores.state == State.SCORED
    waiting = int(np.count_nonzero((scores.px[..., Term.TISSUE] > 0) & ~scored))
    if waiting:
        raise StoreError(
            f"the score store is incomplete: {waiting} cells with tissue have no score; run again"
        )
    prob = scores.prob[scored].astype(np.float64)
    odd = ~(np.isfinite(prob).all(axis=-1) & (prob >= 0).all(axis=-1))
    odd |= ~(np.abs(prob.sum(axis=-1) - 1) <= PROB_TOLERANCE)
    odd |= ~np.isfinite(scores.uncertainty[scored]) | ~np.isfinite(scores.ood[scored])
    if odd.any():
        raise StoreError(
            f"the score store is damaged: {int(odd.sum())} scored cells hold no probabilities or distances; "
            "run with --overwrite"
        )


def _cells(scores: Scores, settings: QuantifySettings) -> _Cells:
    label = cell_class(scores, settings)
    prob = np.where((scores.state == State.SCORED)[..., None], scores.prob, 0).astype(np.float64)
    total = prob.sum(axis=-1, keepdims=True)
    prob = np.divide(prob, total, out=np.zeros_like(prob), where=total > 0)  # float32 sums to 1 only nearly
    rows, cols = label.shape
    side_mm = scores.grid.stride_px * scores.grid.mpp.x / 1e3, scores.grid.stride_px * scores.grid.mpp.y / 1e3
    row, col = np.indices((rows, cols))
    centre_mm = np.stack([(col + 0.5) * side_mm[0], (row + 0.5) * side_mm[1]], axis=-1)
    tissue = scores.px[..., Term.TISSUE].astype(np.int64)
    odd = unusual(scores, settings)
    return _Cells(
        label.ravel(), odd.ravel(), tissue.ravel(), prob.reshape(-1, len(CLASSES)), centre_mm.reshape(-1, 2)
    )


def _ledger(scores: Scores, cells: _Cells) -> AreaLedger:
    px = scores.px.reshape(-1, len(Term)).sum(axis=0, dtype=np.int64)
    # float64 weights are exact up to 2**53 pixels
    tissue = np.bincount(cells.label, weights=cells.tissue, minlength=len(Label)).astype(np.int64)
    soft_mm2 = cells.soft.sum(axis=0) * scores.px_mm2
    return AreaLedger(
        outside_region=int(px[Term.OUTSIDE_REGION]),
        unreadable=int(px[Term.UNREADABLE]),
        background=int(px[Term.BACKGROUND]),
        abstained=int(tissue[Label.ABSTAINED]),
        non_tumour=int(tissue[Label.NON_TUMOUR]),
        non_viable=int(tissue[Label.NON_VIABLE]),
        viable=int(tissue[Label.VIABLE]),
        pixel_mm2=float(scores.px_mm2),
        soft_mm2=cast(tuple[float, float, float], tuple(soft_mm2.tolist())),
    )


def _percent(viable: float, non_viable: float) -> float:
    return 100 * viable / (viable + non_viable)


def _bounds(cells: _Cells) -> tuple[float, float]:
    """V / (V + X + U) and (V + U) / (V + X + U) in percent.

    U is the tissue of abstained cells: all of it where they are unlike the training tiles, as their
    probabilities say nothing; else where they are likely tumour.
    """
    soft = cells.soft.sum(axis=0)
    viable, non_viable = float(soft[VIABLE]), float(soft[NON_VIABLE])
    counted = (cells.label == Label.ABSTAINED) & (cells.unusual | cells.likely_tumour)
    unknown = float(cells.tissue[counted].sum())
    return _percent(viable, non_viable + unknown), _percent(viable + unknown, non_viable)


def _bootstrap(cells: _Cells, settings: QuantifySettings) -> Interval | None:
    """Percentile interval of percent viable over resampled square blocks of tissue.

    Labels correlate over 4 to 6 mm, so blocks of that size, and not tiles, are drawn with replacement;
    each draw is a ratio of sums. Without enough blocks that hold tumour there is no interval.
    """
    for block_mm in (settings.block_mm, settings.small_block_mm):
        blocks, n_tumour = _blocks(cells, block_mm)
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


def _blocks(cells: _Cells, block_mm: float) -> tuple[NDArray[np.float64], int]:
    """V and X (n, 2) of the blocks where their sum is not zero, and how many blocks hold tumour."""
    kept = cells.classed & (cells.tissue > 0)
    at = np.floor(cells.centre_mm[kept] / block_mm).astype(np.int64)
    names, index = np.unique(at, axis=0, return_inverse=True)
    soft = cells.soft[kept]
    sums = np.stack([np.bincount(index, soft[:, k], len(names)) for k in (VIABLE, NON_VIABLE)], axis=-1)
    with_tumour = np.bincount(index, cells.likely_tumour[kept], len(names)) > 0
    return sums[sums.sum(axis=1) > 0], int(with_tumour.sum())
