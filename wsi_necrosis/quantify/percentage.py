"""Areas of tissue by class, percent viable tumour, and its interval.

Everything is computed from the score store under the current settings. Soft sums, which split each cell's
tissue by its probabilities, give the percentage; hard sums by largest probability are reported beside it.
The ledger counts each mask pixel of the slide's plane once, so its terms add up exactly.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from wsi_necrosis.classes import NON_VIABLE, VIABLE
from wsi_necrosis.errors import StoreError
from wsi_necrosis.quantify.cells import Cells, cells_of
from wsi_necrosis.quantify.intervals import TOO_FEW_BLOCKS, Interval, bootstrap_interval, percent_viable
from wsi_necrosis.quantify.ledger import AreaLedger, ledger_of
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import QuantifySettings, load_settings
from wsi_necrosis.tiling.grid import PixelCount

logger = logging.getLogger(__name__)

Status = Literal["scored", "not_evaluable"]
Reason = Literal["no_tissue", "out_of_domain", "too_little_tumour"]

NO_PERCENTAGE = "interval: not available (no percentage)"
NO_UPPER_LIMIT = "upper limit: not available (classifier error unknown for this site)"

PROB_TOLERANCE = 1e-2  # of a sum of probabilities; half-precision networks stay well within it


@dataclass(frozen=True, kw_only=True)
class NecrosisScore:
    """Percent viable tumour of one slide, with the areas it is computed from.

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
        Percent viable if all abstained cells were non-viable, and if all were viable: cells unlike the
        training tiles count in full, uncertain ones where they are at least as likely tumour as not.
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


def measure(scores: Scores, settings: QuantifySettings | None = None) -> NecrosisScore:
    """Percent viable tumour of a slide under the tumour policy.

    Percent viable is 100 V / (V + X), where V and X sum each cell's tissue area times its probability of
    viable and of non-viable tumour. Cells that abstain count in neither; the bounds show how far they could
    change the result.

    Parameters
    ----------
    scores : Scores
        A complete store.
    settings : QuantifySettings, optional
        Thresholds and the bootstrap; by default those of the default settings.

    Returns
    -------
    NecrosisScore

    Raises
    ------
    StoreError
        Tissue lies in cells that were not scored, or scores are not probabilities.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> report = wn.analyse("small.tiff", "small", wn.load_settings(overrides=["model.name=phantom"]))
    >>> wn.measure(report.scores()).reason
    'too_little_tumour'
    """
    settings = settings or load_settings().quantify
    _check(scores)
    cells = cells_of(scores, settings)
    ledger = ledger_of(scores, cells)
    ood_px = int(cells.tissue[cells.ood].sum())
    score = NecrosisScore(
        policy=settings.policy,
        tumour_mm2=ledger.soft_mm2[NON_VIABLE] + ledger.soft_mm2[VIABLE],
        viable_mm2=ledger.soft_mm2[VIABLE],
        ood_mm2=ood_px * ledger.pixel_mm2,
        ledger=ledger,
    )
    tissue_px = ledger.abstained + ledger.non_tumour + ledger.non_viable + ledger.viable
    if tissue_px == 0:
        return replace(score, reason="no_tissue")
    if ood_px > settings.max_ood_share * tissue_px:
        return replace(score, reason="out_of_domain")
    if score.tumour_mm2 < settings.min_tumour_mm2 or score.tumour_mm2 <= 0:
        return replace(score, reason="too_little_tumour")
    percent = percent_viable(ledger.soft_mm2[VIABLE], ledger.soft_mm2[NON_VIABLE])
    hard = percent_viable(ledger.viable, ledger.non_viable) if ledger.viable + ledger.non_viable else None
    interval = bootstrap_interval(cells, settings)
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
    """Require that every tissue pixel lies in a scored cell, and that scored cells hold probabilities."""
    scored = scores.state == CellState.SCORED
    not_scored = int(np.count_nonzero((scores.px[..., PixelCount.TISSUE] > 0) & ~scored))
    if not_scored:
        raise StoreError(
            f"the score store is incomplete: {not_scored} cells with tissue have no score; run again"
        )
    prob = scores.prob[scored].astype(np.float64)
    damaged = ~(np.isfinite(prob).all(axis=-1) & (prob >= 0).all(axis=-1))
    damaged |= ~(np.abs(prob.sum(axis=-1) - 1) <= PROB_TOLERANCE)
    damaged |= ~np.isfinite(scores.uncertainty[scored]) | ~np.isfinite(scores.ood[scored])
    if damaged.any():
        raise StoreError(
            f"the score store is damaged: {int(damaged.sum())} scored cells hold no probabilities or distances; "
            "run with --overwrite"
        )


def _bounds(cells: Cells) -> tuple[float, float]:
    """V / (V + X + U) and (V + U) / (V + X + U) in percent.

    V is viable, X non-viable tumour, and U the tissue of abstained cells: of those unlike the training tiles, whose
    probabilities carry no information, and of those that are likely tumour.
    """
    soft = cells.soft.sum(axis=0)
    viable, non_viable = float(soft[VIABLE]), float(soft[NON_VIABLE])
    counted = (cells.label == CellLabel.ABSTAINED) & (cells.ood | cells.likely_tumour)
    abstained = float(cells.tissue[counted].sum())
    return percent_viable(viable, non_viable + abstained), percent_viable(viable + abstained, non_viable)
