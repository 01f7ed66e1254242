"""Areas of tissue by class, percent viable tumour, and its interval.

Everything is computed from the score store under the current settings. Two estimators give a percentage: soft sums
split each cell's tissue by its probabilities, which no temperature has touched; sums by class count each cell as its
likeliest class. The one that leads is the model's (`model.quantity`) or the settings'; the other stands beside it.
The ledger counts each mask pixel of the slide's plane once, so its terms add up exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.model.quantity import EndOfScale, Estimator, EstimatorFigures, Quantity
from wsi_necrosis.quantify.bed import Bed, BedShares, bed_of, bed_shares
from wsi_necrosis.quantify.cells import Cells, cells_of, require_complete
from wsi_necrosis.quantify.doubt import Decision, ResultWarning, decision_of, doubts
from wsi_necrosis.quantify.evaluable import Reason, reason_against
from wsi_necrosis.quantify.foci import foci_of, in_small_foci, largest_extent_mm
from wsi_necrosis.quantify.intervals import (
    NO_NON_VIABLE,
    NO_VIABLE,
    Interval,
    bootstrap_interval,
    percent_viable,
)
from wsi_necrosis.quantify.ledger import AreaLedger, ledger_of
from wsi_necrosis.quantify.sentences import limit_of_blank_text, limit_of_full_text
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import QuantifySettings, load_settings

Status = Literal["scored", "not_evaluable"]
Finding = Literal["no_viable", "no_non_viable"]

NO_PERCENTAGE = "interval: not available (no percentage)"
NO_BED_INTERVAL = "interval: not available (none is known for the policy tumour_bed)"
NO_UPPER_LIMIT = "upper limit: not available (classifier error unknown for this site)"
NO_INTERVAL: Mapping[Finding, str] = MappingProxyType(
    {"no_viable": NO_VIABLE, "no_non_viable": NO_NON_VIABLE}
)


@dataclass(frozen=True)
class IfAbstained:
    """Percent viable if all tissue that abstained and may be tumour were non-viable tumour, and if it were viable.

    This bounds the effect of abstaining, and nothing else: it is no interval.
    """

    all_non_viable: float
    all_viable: float


@dataclass(frozen=True, kw_only=True)
class NecrosisScore:
    """Percent viable tumour of one slide, with the areas it is computed from.

    Attributes
    ----------
    status : str
        `scored`, or `not_evaluable` with a `reason` and without a percentage.
    reason : str or None
        `unreadable` (too much of the tissue is damaged in the file), `no_tissue` (no tissue was scored),
        `out_of_domain` (too much of it is unlike the training tiles), `out_of_focus` (too much of it is so),
        `undecided` (the model is close to guessing), `too_little_tumour` (by the leading estimator, or no cell is
        tumour by its likeliest class), or `no_tumour` (the same, though there is tissue enough that has a class: hardly
        any of it is tumour).
    policy : str
        Denominator: `tumour` is viable + non-viable tumour; `tumour_bed` all tissue with a class inside the bed.
    percent_viable, percent_necrosis : float or None
        By the leading estimator; they add up to 100, under `tumour_bed` with the rest of the bed.
    bed : BedShares or None
        The rest of the tumour bed; None under `tumour`.
    estimator : {"soft", "by_class"}
        The one that leads.
    percent_viable_soft, percent_viable_by_class : float or None
        By sums of probability, and by the likeliest class of each cell.
    finding : str or None
        `no_viable` or `no_non_viable`: no cell's likeliest class is that one, so it was not found. The percentage then
        says no more than that, and there is no interval: resampled tissue has no such cell either.
    percent_viable_without_small_foci : float or None
        Percent viable without the tissue of viable foci smaller than `min_focus_mm2`; None where that is 0.
    n_foci : int
        Viable foci: cells of viable tumour that touch.
    largest_focus_mm : float
        Greatest extent of any of them in mm; 0 where there is none.
    percent_viable_if_abstained : IfAbstained or None
        Bounds of what the abstained tissue could change: cells unlike the training tiles or out of focus count in full,
        uncertain ones where they are at least as likely tumour as not.
    tumour_mm2, viable_mm2, non_viable_mm2, non_tumour_mm2 : float
        Areas by the leading estimator; tumour is viable and non-viable.
    ood_mm2 : float
        Tissue that abstained because it is unlike the training tiles; part of the ledger's `abstained`.
    defocus_mm2 : float
        Other tissue that abstained because it is out of focus; part of the same term.
    viable_upper_mm2 : float or None
        Upper limit of the viable area, or None with the reason in `viable_upper_reason`.
    interval : Interval or None
        Of percent viable, or None with the reason in `interval_reason`.
    limit_of_blank, limit_of_full : EndOfScale or None
        What the model reads by the leading estimator where no tumour is viable, and where all is, in percent; None
        where that is not known.
    decision : Decision or None
        How decided the model is over the scored tissue; None where there is none.
    warnings : tuple of ResultWarning
        Doubt about the number: `estimators_differ`, `within_limit_of_blank`, `within_limit_of_full`, `undecided`.
    ledger : AreaLedger
        The areas.
    """

    status: Status = "not_evaluable"
    reason: Reason | None = None
    policy: str
    percent_viable: float | None = None
    percent_viable_soft: float | None = None
    percent_viable_by_class: float | None = None
    estimator: Estimator
    percent_necrosis: float | None = None
    bed: BedShares | None = None
    finding: Finding | None = None
    percent_viable_without_small_foci: float | None = None
    n_foci: int
    largest_focus_mm: float
    percent_viable_if_abstained: IfAbstained | None = None
    tumour_mm2: float
    viable_mm2: float
    non_viable_mm2: float
    non_tumour_mm2: float
    ood_mm2: float
    defocus_mm2: float
    viable_upper_mm2: float | None = None
    viable_upper_reason: str | None = NO_UPPER_LIMIT
    interval: Interval | None = None
    interval_reason: str | None = NO_PERCENTAGE
    limit_of_blank: EndOfScale | None = None
    limit_of_full: EndOfScale | None = None
    decision: Decision | None = None
    warnings: tuple[ResultWarning, ...] = ()
    ledger: AreaLedger

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: finite numbers and null, keys in a fixed order."""
        facts = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in (
            "bed",
            "percent_viable_if_abstained",
            "interval",
            "limit_of_blank",
            "limit_of_full",
            "decision",
        ):
            facts[name] = None if facts[name] is None else asdict(facts[name])
        facts["warnings"] = [asdict(each) for each in self.warnings]
        facts["ledger"] = {
            "pixel_mm2": self.ledger.pixel_mm2,
            "total_px": self.ledger.total,
            "px": self.ledger.px,
            "mm2": self.ledger.area_mm2(),
            "abstained_px": self.ledger.abstained_by,
        }
        facts["limit_of_blank_text"] = limit_of_blank_text(facts["limit_of_blank"])
        facts["limit_of_full_text"] = limit_of_full_text(facts["limit_of_full"])
        return facts


def measure(
    scores: Scores, settings: QuantifySettings | None = None, quantity: Quantity | None = None
) -> NecrosisScore:
    """Percent viable tumour of a slide.

    Percent viable is 100 V / (V + X), where V and X are areas of viable and of non-viable tumour: sums over cells of
    tissue area times probability (soft), or of the tissue of cells whose likeliest class it is (by class). Cells that
    abstain count in neither. Under the policy `tumour_bed` it is 100 V / (V + X + N), where N is all other tissue with
    a class inside the bed (`bed.bed_of`).

    Parameters
    ----------
    scores : Scores
        A complete store.
    settings : QuantifySettings, optional
        Estimator, thresholds and the bootstrap; by default those of the default settings.
    quantity : Quantity, optional
        What is known of the model's percent viable (`spec.quantity`, or `SlideReport.quantity` of a finished
        slide): the estimator that leads under `estimator: auto`, and the limit of blank. Without it sums by class lead,
        and the limits are not known.

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
    >>> wn.measure(report.scores(), quantity=report.quantity).reason
    'too_little_tumour'
    """
    settings = settings or load_settings().quantify
    require_complete(scores)
    cells = cells_of(scores, settings)
    ledger = ledger_of(scores, cells)
    estimator = leading_estimator(settings, quantity)
    bed = bed_of(scores, cells, settings) if settings.policy == "tumour_bed" else None
    # what is known of a model is of its percent of the tumour
    figures = None if quantity is None or bed is not None else quantity.of(estimator)
    areas, abstained, decision = ledger.class_mm2(estimator), ledger.abstained_by, decision_of(cells)
    foci = foci_of(scores, settings)
    score = NecrosisScore(
        policy=settings.policy,
        estimator=estimator,
        tumour_mm2=areas[NON_VIABLE] + areas[VIABLE],
        viable_mm2=areas[VIABLE],
        non_viable_mm2=areas[NON_VIABLE],
        non_tumour_mm2=areas[NON_TUMOUR],
        ood_mm2=abstained["ood"] * ledger.pixel_mm2,
        defocus_mm2=abstained["defocus"] * ledger.pixel_mm2,
        limit_of_blank=None if figures is None else figures.blank,
        limit_of_full=None if figures is None else figures.full,
        bed=None if bed is None else bed_shares(bed, cells, ledger.pixel_mm2, estimator),
        n_foci=len(foci),
        largest_focus_mm=largest_extent_mm(foci),
        decision=decision,
        ledger=ledger,
    )
    reason = reason_against(ledger, score.tumour_mm2, decision, settings)
    percents = {} if reason else _percents(ledger, cells, bed)
    said = tuple(doubts(percents, estimator, figures, decision, settings))
    score = replace(score, reason=reason, warnings=said)
    if reason:
        return replace(score, bed=None if score.bed is None else replace(score.bed, percent_non_tumour=None))
    small = in_small_foci(scores, cells, settings.min_focus_mm2)
    found = NO_BED_INTERVAL if bed else _interval(ledger, cells, settings, estimator, figures)
    interval, why_none = (found, None) if isinstance(found, Interval) else (None, found)
    score = replace(score, interval=interval, interval_reason=why_none)
    return _with_percentage(score, percents, cells, bed, small, settings)


def leading_estimator(settings: QuantifySettings, quantity: Quantity | None) -> Estimator:
    """The estimator that the settings name, else the model's; by class where neither names one.

    What a cell counts as does not depend on how sure a model is that was never measured on left-out cases.
    """
    if settings.estimator != "auto":
        return settings.estimator
    return "by_class" if quantity is None else quantity.leading


def _percents(ledger: AreaLedger, cells: Cells, bed: Bed | None) -> dict[Estimator, float]:
    """Percent viable by either estimator, where a cell is tumour by its likeliest class."""
    if bed is not None:
        areas: dict[Estimator, NDArray[np.float64]] = {
            "soft": cells.soft[bed.cells].sum(axis=0),
            "by_class": cells.by_class[bed.cells].sum(axis=0),
        }
        return {name: percent_viable(area[VIABLE], area[:VIABLE].sum()) for name, area in areas.items()}
    return {
        "soft": percent_viable(ledger.soft_mm2[VIABLE], ledger.soft_mm2[NON_VIABLE]),
        "by_class": percent_viable(ledger.viable, ledger.non_viable),
    }


def _percent(area: NDArray[np.float64], bed: Bed | None) -> float | None:
    """Percent viable of cells (n, 3); None where none of them counts."""
    non_tumour, non_viable, viable = area.sum(axis=0).tolist()
    others = non_viable + (0 if bed is None else non_tumour)
    return percent_viable(viable, others) if viable + others > 0 else None


def _with_percentage(
    score: NecrosisScore,
    percents: Mapping[Estimator, float],
    cells: Cells,
    bed: Bed | None,
    small: NDArray[np.bool_],
    settings: QuantifySettings,
) -> NecrosisScore:
    percent, finding = percents[score.estimator], _finding(score.ledger)
    rest = 0.0 if score.bed is None else score.bed.percent_non_tumour or 0.0
    counted = cells.classed if bed is None else bed.cells
    return replace(
        score,
        status="scored",
        percent_viable=percent,
        percent_necrosis=100 - percent - rest,
        percent_viable_soft=percents["soft"],
        percent_viable_by_class=percents["by_class"],
        finding=finding,
        percent_viable_without_small_foci=(
            _percent(cells.by(score.estimator)[counted & ~small], bed) if settings.min_focus_mm2 else None
        ),
        percent_viable_if_abstained=_if_abstained(cells, bed, score.estimator),
    )


def _interval(
    ledger: AreaLedger,
    cells: Cells,
    settings: QuantifySettings,
    estimator: Estimator,
    figures: EstimatorFigures | None,
) -> Interval | str:
    """The interval, or why there is none."""
    finding = _finding(ledger)
    patients = () if figures is None else figures.patients
    return NO_INTERVAL[finding] if finding else bootstrap_interval(cells, settings, estimator, patients)


def _finding(ledger: AreaLedger) -> Finding | None:
    """Which kind of tumour no cell was classed as, on a slide with tumour."""
    if ledger.viable == 0:
        return "no_viable"
    return "no_non_viable" if ledger.non_viable == 0 else None


def _if_abstained(cells: Cells, bed: Bed | None, estimator: Estimator) -> IfAbstained:
    """V / (V + X + U) and (V + U) / (V + X + U) in percent.

    V is viable, X non-viable tumour (under `tumour_bed` all else in the bed), and U the tissue of abstained cells: of
    those unlike the training tiles or out of focus, whose probabilities carry no information, and of those that are
    likely tumour.
    """
    area = cells.by(estimator)[slice(None) if bed is None else bed.cells].sum(axis=0)
    viable = float(area[VIABLE])
    others = float(area[NON_VIABLE]) + (0.0 if bed is None else float(area[NON_TUMOUR]))
    counted = (cells.label == CellLabel.ABSTAINED) & (cells.unfit | cells.likely_tumour)
    abstained = float(cells.tissue[counted].sum())
    return IfAbstained(percent_viable(viable, others + abstained), percent_viable(viable + abstained, others))
