"""Percent viable of a case: areas of its slides added up, recuts of one block averaged. No slide is scored for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from statistics import mean
from typing import Any, Literal

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.manifest import COUNTED_ROLES
from wsi_necrosis.quantify.case_intervals import Bootstrap, CaseInterval, interval_over_slides

Source = Literal["model", "drawn", "review"]
Areas = Mapping[str, Fraction]  # in mm2; exact, so that no sum is rounded before it is graded

NO_INTERVAL: Mapping[Source, str] = {
    "model": "interval: not available (classifier error unknown for this site)",
    "drawn": "interval: not available (how readers disagree is not known)",
    "review": "interval: not available (no labelled cell is tumour)",
}
HAS_AREAS = ("no_tumour", "too_little_tumour", "no_tissue")  # not evaluable alone, and yet measured
NO_SLIDE, TOO_LITTLE = "no slide that counts was measured", "too little tumour"


@dataclass(frozen=True)
class SlideAreas:
    """What one slide brings to its case.

    Attributes
    ----------
    slide_id, block, role : str
        As a manifest gives them; slides of one block are recuts.
    problem : str
        Why it cannot count; empty where it was measured.
    terms : mapping of str to Fraction
        The terms of its ledger in mm2.
    counted : mapping of str to mapping of str to Fraction
        Areas of which percentages are made, by estimator (`soft`, `by_class` or `drawn`): of each class, in mm2.
    largest_focus_mm : float or None
        Greatest extent of a viable focus.
    """

    slide_id: str
    block: str = ""
    role: str = ""
    problem: str = ""
    terms: Areas = field(default_factory=dict)
    counted: Mapping[str, Areas] = field(default_factory=dict)
    largest_focus_mm: float | None = None


@dataclass(frozen=True)
class CaseRules:
    """How the slides of a case were measured, the same for all: which estimator leads, and what is known of it.

    `bootstrap` says how slides are resampled for an interval; None where there is to be none.
    """

    source: Source
    policy: str
    estimator: str
    min_tumour_mm2: float
    definition: Mapping[str, str]
    limit_of_blank: Mapping[str, float] | None = None
    limit_of_full: Mapping[str, float] | None = None
    bootstrap: Bootstrap | None = None


@dataclass(frozen=True, kw_only=True)
class CaseNumber:
    """Percent viable of a case from one source: the model, outlines, or labels of a review.

    Attributes
    ----------
    source : str
        `model`, `drawn` or `review`.
    status, reason : str
        `scored`, or `not_evaluable` with the reason.
    percent_viable, percent_necrosis, percent_non_tumour : float or None
        Of the areas of all slides added up; the last one under the policy `tumour_bed` alone.
    percent_viable_unweighted : float or None
        Mean of the slides' own percentages, recuts of a block first averaged.
    finding : str or None
        `no_viable` or `no_non_viable`: the model called no cell of any slide so, which is no proof of 0 or 100 %.
    percent_viable_by : mapping of str to float
        Percent viable by each estimator.
    mm2 : mapping of str to float
        Areas of the ledger, added up: those terms that are known of all slides.
    counted : tuple of str
        Slides that count.
    incomplete : mapping of str to str
        Slides that should count and cannot, with the reason.
    left_out : mapping of str to str
        Slides that do not count by their role, with the role.
    """

    source: Source
    status: str = "not_evaluable"
    reason: str | None = None
    policy: str
    estimator: str
    definition: Mapping[str, str]
    percent_viable: float | None = None
    percent_necrosis: float | None = None
    percent_non_tumour: float | None = None
    percent_viable_unweighted: float | None = None
    finding: str | None = None
    percent_viable_by: Mapping[str, float] = field(default_factory=dict)
    interval: CaseInterval | None = None
    interval_reason: str | None = None
    tumour_mm2: float | None = None
    mm2: Mapping[str, float] = field(default_factory=dict)
    largest_focus_mm: float | None = None
    limit_of_blank: Mapping[str, float] | None = None
    limit_of_full: Mapping[str, float] | None = None
    counted: tuple[str, ...] = ()
    incomplete: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: finite numbers and null."""
        facts = asdict(self)
        if self.interval is not None:
            del facts["interval"]["draws"]
        return facts


def areas_of(result: Mapping[str, Any], block: str = "", role: str = "") -> SlideAreas:
    """What a measured slide brings to its case.

    Parameters
    ----------
    result : mapping
        The content of its `result.json`.
    block, role : str
        As a manifest gives them.
    """
    name, reason, ledger = str(result["slide_id"]), result["reason"], result["ledger"]
    if reason is not None and reason not in HAS_AREAS:
        return SlideAreas(name, block, role, problem=f"not evaluable: {reason}")
    pixel = Fraction(ledger["pixel_mm2"])
    terms = {term: px * pixel for term, px in ledger["px"].items()}
    terms |= {f"{each}_soft": Fraction(ledger["mm2"][f"{each}_soft"]) for each in CLASSES}
    counted: dict[str, Areas] = {
        how: {each: terms[f"{each}_{how}"] for each in CLASSES} for how in ("soft", "by_class")
    }
    if result["bed"] is not None:
        bed = {each: Fraction(result["bed"][f"{each}_mm2"]) for each in CLASSES}
        counted = {str(result["estimator"]): bed}
    return SlideAreas(name, block, role, "", terms, counted, result["largest_focus_mm"])


def case_number(slides: Iterable[SlideAreas], rules: CaseRules) -> CaseNumber:
    """Percent viable of a case from the areas of its slides.

    Slides whose role is not that of the slab are left out. Those that could not be measured are named, and the others
    count without them. Recuts, slides of one block, are averaged first.

    Parameters
    ----------
    slides : iterable of SlideAreas
        Of one case.
    rules : CaseRules
        How all of them were measured.

    Examples
    --------
    >>> def slide(name, viable, non_viable):
    ...     classes = {"viable": Fraction(viable), "non_viable": Fraction(non_viable), "non_tumour": Fraction(0)}
    ...     terms = {f"{each}_by_class": area for each, area in classes.items()}
    ...     return SlideAreas(name, terms=terms, counted={"by_class": classes})
    >>> rules = CaseRules("model", "tumour", "by_class", 1.0, {})
    >>> found = case_number([slide("a", 1, 3), slide("b", 9, 1), SlideAreas("c", problem="failed")], rules)
    >>> round(found.percent_viable, 1), found.percent_viable_unweighted, found.incomplete
    (71.4, 57.5, {'c': 'failed'})
    """
    every = list(slides)
    wanted = [slide for slide in every if slide.role in COUNTED_ROLES]
    good = [slide for slide in wanted if not slide.problem]
    blocks = defaultdict(list)
    for slide in good:
        blocks[slide.block or f"\0{slide.slide_id}"].append(slide)
    known = CaseNumber(
        source=rules.source,
        policy=rules.policy,
        estimator=rules.estimator,
        definition=rules.definition,
        reason=NO_SLIDE,
        interval_reason=NO_INTERVAL[rules.source],
        limit_of_blank=rules.limit_of_blank,
        limit_of_full=rules.limit_of_full,
        counted=tuple(slide.slide_id for slide in good),
        incomplete={slide.slide_id: slide.problem for slide in wanted if slide.problem},
        left_out={slide.slide_id: slide.role for slide in every if slide not in wanted},
    )
    return _with_areas(known, list(blocks.values()), rules) if good else known


def _with_areas(known: CaseNumber, blocks: Sequence[Sequence[SlideAreas]], rules: CaseRules) -> CaseNumber:
    """The areas of all blocks added up, and percentages of them."""
    every = [slide.terms for block in blocks for slide in block]
    shared = [term for term in every[0] if all(term in terms for terms in every)]
    mm2 = _added(
        _averaged([{term: slide.terms[term] for term in shared} for slide in block]) for block in blocks
    )
    by = {
        how: _added(_averaged([slide.counted[how] for slide in block]) for block in blocks)
        for how in blocks[0][0].counted
    }
    leads = by[rules.estimator]
    tumour = leads["viable"] + leads["non_viable"]
    foci = [
        slide.largest_focus_mm for block in blocks for slide in block if slide.largest_focus_mm is not None
    ]
    facts = {
        **vars(known),
        "tumour_mm2": float(tumour),
        "mm2": {term: float(area) for term, area in mm2.items()},
        "largest_focus_mm": max(foci, default=None),
        "reason": TOO_LITTLE,
    }
    if tumour == 0 or tumour < rules.min_tumour_mm2:
        return CaseNumber(**facts)
    viable, necrosis, rest = _percents(leads, rules.policy)
    own = [_averaged([slide.counted[rules.estimator] for slide in block]) for block in blocks]
    enough = [area for area in own if area["viable"] + area["non_viable"] >= max(rules.min_tumour_mm2, 1e-9)]
    if rules.bootstrap is not None and rules.policy == "tumour":
        found = interval_over_slides([_in_order(area) for area in own], rules.bootstrap)
        if isinstance(found, str):
            facts["interval_reason"] = found
        else:
            facts |= {"interval": found, "interval_reason": None}
    facts |= {
        "status": "scored",
        "reason": None,
        "percent_viable": float(viable),
        "percent_necrosis": float(necrosis),
        "percent_non_tumour": float(rest) if rules.policy == "tumour_bed" else None,
        "finding": _finding(mm2) if rules.source == "model" else None,
        "percent_viable_unweighted": (
            float(mean(_percents(area, rules.policy)[0] for area in enough)) if enough else None
        ),
        "percent_viable_by": {
            how: float(_percents(area, rules.policy)[0])
            for how, area in by.items()
            if area["viable"] + area["non_viable"] > 0
        },
    }
    return CaseNumber(**facts)


def _in_order(areas: Areas) -> list[float]:
    return [float(areas[name]) for name in CLASSES]


def _finding(mm2: Areas) -> str | None:
    if mm2["viable_by_class"] == 0:
        return "no_viable"
    return "no_non_viable" if mm2["non_viable_by_class"] == 0 else None


def _percents(areas: Areas, policy: str) -> tuple[Fraction, Fraction, Fraction]:
    """Percent viable, non-viable and non-tumour of the policy's denominator."""
    rest = areas["non_tumour"] if policy == "tumour_bed" else Fraction(0)
    total = areas["viable"] + areas["non_viable"] + rest
    return 100 * areas["viable"] / total, 100 * areas["non_viable"] / total, 100 * rest / total


def _averaged(recuts: Sequence[Areas]) -> Areas:
    return {term: sum((each[term] for each in recuts), Fraction(0)) / len(recuts) for term in recuts[0]}


def _added(blocks: Iterable[Areas]) -> Areas:
    found: dict[str, Fraction] = defaultdict(Fraction)
    for block in blocks:
        for term, area in block.items():
            found[term] += area
    return found
