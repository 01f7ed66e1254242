"""The interval of a case's percent viable over its slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wsi_necrosis.classes import NON_VIABLE, VIABLE
from wsi_necrosis.model.quantity import ConfusionShares
from wsi_necrosis.quantify.intervals import COVERS, COVERS_PATIENTS, interval_of_blocks

FEWEST_SLIDES = 5  # fewer do not tell how slides differ
TARGET = "expected over the tumour that these sections stand for"
METHOD = "bootstrap over slides, expanded percentiles"
METHOD_PATIENTS = (
    "bootstrap over slides, each draw corrected by the smoothed errors on one calibration patient"
)
TOO_FEW = f"interval: not available (fewer than {FEWEST_SLIDES} slides)"
ONE_KIND = "interval: not available (fewer than two slides hold {})"


@dataclass(frozen=True)
class Bootstrap:
    """How slides are resampled: nominal coverage, draws, seed, and how the model erred on calibration patients."""

    confidence: float
    draws: int
    seed: int
    patients: Sequence[ConfusionShares] = ()


@dataclass(frozen=True)
class CaseInterval:
    """Interval of a case's percent viable, with what it estimates; `draws` of it say how likely each grade is.

    `covers_classifier` says whether classifier error is among what it covers; without it the interval is not that of
    the percentage.
    """

    low: float
    high: float
    confidence: float
    target: str
    method: str
    covers: str
    covers_classifier: bool
    draws: Sequence[float] = field(default=(), repr=False)


def interval_over_slides(areas: Sequence[Sequence[float]], bootstrap: Bootstrap) -> CaseInterval | str:
    """Interval of percent viable over resampled slides, or why there is none.

    Parameters
    ----------
    areas : sequence of sequence of float
        Of each slide, or of the mean of the recuts of a block: area of each class, in the order of `classes.CLASSES`.
    bootstrap : Bootstrap
        How they are resampled.

    Examples
    --------
    >>> found = interval_over_slides([[0, 8, 2], [0, 5, 5], [0, 6, 4], [0, 9, 1], [0, 7, 3]], Bootstrap(0.95, 2000, 1))
    >>> found.low < 30 < found.high, found.covers_classifier
    (True, False)
    """
    if len(areas) < FEWEST_SLIDES:
        return TOO_FEW
    slides = np.asarray(areas, np.float64)
    for kind, name in ((VIABLE, "viable tumour"), (NON_VIABLE, "non-viable tumour")):
        if np.count_nonzero(slides[:, kind]) < 2:
            return ONE_KIND.format(name)
    patients = bootstrap.patients
    low, high = interval_of_blocks(slides, bootstrap.confidence, bootstrap.draws, bootstrap.seed, patients)
    return CaseInterval(
        low=low,
        high=high,
        confidence=bootstrap.confidence,
        target=TARGET,
        method=METHOD_PATIENTS if patients else METHOD,
        covers=COVERS_PATIENTS.format(len(patients)) if patients else COVERS,
        covers_classifier=bool(patients),
    )
