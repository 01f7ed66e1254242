"""A review as the number of its case: percent viable by the labels of one reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.dataset.faults import plainly
from wsi_necrosis.dataset.manifest import COUNTED_ROLES
from wsi_necrosis.errors import UsageError
from wsi_necrosis.quantify.case_intervals import CaseInterval
from wsi_necrosis.quantify.cases import NO_INTERVAL, CaseNumber
from wsi_necrosis.report.case_slides import CaseSlide
from wsi_necrosis.review.labels import Reading, all_labels, latest_by_reader, reading_of
from wsi_necrosis.review.result import TARGET, definition_of
from wsi_necrosis.review.rule import FIXED_ALPHA, ROUNDS_ALPHA, Corrected
from wsi_necrosis.review.sample import Sample, read_sample

DRAWS = 20_000  # of the interval's distribution: a probability of a grade is right to half a point
METHOD = "mid-P binomial on the effective number of labels, cells drawn at random by tissue area"
COVERS = "the chance of the draw; not readers' disagreement, nor tissue that was not scanned"


def reviewed_number(
    out: Path, name: str, reader: str | None, slides: Sequence[CaseSlide], model: CaseNumber
) -> CaseNumber:
    """Percent viable of a case by a reader's labels, with its interval.

    Where labels are "?", the percentage counts them as viable, and the interval holds both ways of counting.

    Parameters
    ----------
    out : Path
        Folder of results.
    name : str
        Of the review.
    reader : str or None
        Whose labels; needed where several have labelled.
    slides : sequence of CaseSlide
        Of the case.
    model : CaseNumber
        The model's number of the case, whose slides and areas the review shares.

    Raises
    ------
    UsageError
        The review is of other slides, the reader is not clear, or cells have no label.
    """
    sample = read_sample(out, name)
    _require_same_slides(sample, slides)
    reading = _reading(out, sample, reader)
    facts = replace(
        model,
        source="review",
        status="not_evaluable",
        reason="no labelled cell is tumour",
        estimator="labels",
        definition=definition_of(sample, reading),
        policy="tumour",
        percent_viable=None,
        percent_necrosis=None,
        percent_non_tumour=None,
        percent_viable_unweighted=None,
        finding=None,
        percent_viable_by={},
        tumour_mm2=None,
        interval=None,
        interval_reason=NO_INTERVAL["review"],
        counted=tuple(slide.name for slide in slides if slide.result and slide.role in COUNTED_ROLES),
        incomplete={
            slide.name: slide.problem for slide in slides if not slide.result and slide.role in COUNTED_ROLES
        },
    )
    ways = [way for way in (reading.if_viable, reading.if_non_viable) if way is not None]
    if not ways:
        return facts
    alpha = ROUNDS_ALPHA if sample.rounds else FIXED_ALPHA
    interval = CaseInterval(
        low=100 * min(way.low for way in ways),
        high=100 * max(way.high for way in ways),
        confidence=1 - FIXED_ALPHA,
        target=TARGET,
        method=METHOD + (f", alpha {alpha} as it was labelled in rounds" if sample.rounds else ""),
        covers=COVERS,
        covers_classifier=True,  # labels do not lean on the classifier
        draws=np.concatenate([_draws(way, sample.seed) for way in ways]).tolist(),
    )
    percent = 100 * ways[0].share
    return replace(
        facts,
        status="scored",
        reason=None,
        percent_viable=percent,
        percent_necrosis=100 - percent,
        interval=interval,
        interval_reason=None,
    )


def of_case(out: Path, name: str, slides: Sequence[CaseSlide]) -> bool:
    """Whether a review is of these slides: of one of them, at least."""
    known = _fingerprints(slides)
    return any(slide.fingerprint in known for slide in read_sample(out, name).slides)


def _require_same_slides(sample: Sample, slides: Sequence[CaseSlide]) -> None:
    wanted, held = _fingerprints(slides), {slide.fingerprint: slide.slide_id for slide in sample.slides}
    names = [name for content, name in (wanted | held).items() if (content in wanted) != (content in held)]
    if names:
        raise UsageError(
            f"the review {sample.name!r} is not of the slides that the case counts: they differ in {plainly(names)}; "
            "draw a review of the case's slides"
        )


def _fingerprints(slides: Sequence[CaseSlide]) -> dict[str, str]:
    """Names by fingerprint of the slides with results that their case counts."""
    return {
        str(slide.result["provenance"]["inputs"]["slide"]["fingerprint"]): slide.name
        for slide in slides
        if slide.result is not None and slide.role in COUNTED_ROLES
    }


def _reading(out: Path, sample: Sample, reader: str | None) -> Reading:
    by_reader = latest_by_reader(all_labels(out, sample))
    if not by_reader:
        raise UsageError(
            f"the review {sample.name!r} has no labels; bring them in with `wsi-necrosis review import {out}`"
        )
    if reader is None and len(by_reader) > 1:
        raise UsageError(
            f"the review {sample.name!r} has labels of {', '.join(by_reader)}; name one with --reader"
        )
    who = reader or next(iter(by_reader))
    if who not in by_reader:
        raise UsageError(
            f"the review {sample.name!r} has no labels by {who!r}, but by {', '.join(by_reader)}"
        )
    return reading_of(sample, who, by_reader[who])


def _draws(found: Corrected, seed: int) -> NDArray[np.float64]:
    """Percent viable drawn from the distribution whose quantiles are the interval's ends.

    A mid-P interval's ends are quantiles of an even mixture of two beta distributions; without a viable or without a
    non-viable label the one-sided limit's is a single one.
    """
    rng = np.random.default_rng(seed)
    trials, hits = found.effective, found.share * found.effective
    if found.share in {0.0, 1.0}:
        return 100 * (rng.beta(1, trials, DRAWS) if found.share == 0 else rng.beta(trials, 1, DRAWS))
    lower, upper = rng.beta(hits, trials - hits + 1, DRAWS), rng.beta(hits + 1, trials - hits, DRAWS)
    return 100 * np.where(rng.random(DRAWS) < 0.5, lower, upper)
