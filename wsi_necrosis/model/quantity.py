"""What is known of a model's percent viable: which estimator leads, how far it is off, and what cannot be told from 0.

The figures come from slides simulated of left-out cases (`training.quantity`). They are kept apart from the
calibration of single tiles (`model.calibration`): probabilities that are summed into an area are never scaled.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from wsi_necrosis.model.calibration import STRICT

Estimator = Literal["soft", "by_class"]
Row = tuple[float, float, float]
ConfusionShares = tuple[
    Row, Row, Row
]  # row: a true class; column: the share of its tissue that counts as that class


LEAST_PATIENTS = 10  # whose errors differ as those of patients do
SUM_TOLERANCE = 1e-3  # shares are rounded


@dataclass(frozen=True)
class EndOfScale:
    """What a model reads at one end of the scale, where percent viable is truly 0 or truly 100.

    Attributes
    ----------
    mean : float
        Mean over the cases of the mean reading, in percent.
    limit : float
        The 95 % point farthest from the true value among the cases, in percent: readings up to it (at 0), or down to
        it (at 100), cannot be told from the end of the scale. At 0 it is a limit of blank (CLSI EP17-A2).
    cases : int
        Cases that this comes from, at least two.
    """

    mean: float
    limit: float
    cases: int
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        if not (0 <= self.mean <= 100 and 0 <= self.limit <= 100 and self.cases >= 2):
            raise ValueError("mean and limit are percentages from 0 to 100, of at least two cases")


@dataclass(frozen=True)
class EstimatorFigures:
    """How an estimator of percent viable did on simulated slides of left-out cases.

    Attributes
    ----------
    rmse : float
        Root mean square error in percentage points.
    slope, intercept : float
        Least-squares line of what was found against what was true, in percent.
    blank, full : EndOfScale or None
        Readings where nothing is viable, and where all tumour is; None ("not known") with fewer than two such cases.
    patients : tuple of ConfusionShares
        Errors on each left-out case that holds both kinds of tumour, in the order of `classes.CLASSES`; empty where
        there are fewer than ten, which would not tell how patients differ.
    """

    rmse: float
    slope: float
    intercept: float
    blank: EndOfScale | None = None
    full: EndOfScale | None = None
    patients: tuple[ConfusionShares, ...] = ()
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    def __post_init__(self) -> None:
        if not (isfinite(self.rmse) and self.rmse >= 0 and isfinite(self.slope) and isfinite(self.intercept)):
            raise ValueError("rmse, slope and intercept are finite, and rmse is not negative")
        if 0 < len(self.patients) < LEAST_PATIENTS:
            raise ValueError(f"errors of fewer than {LEAST_PATIENTS} patients are not kept")
        if not all(
            min(row) >= 0 and abs(sum(row) - 1) < SUM_TOLERANCE for shares in self.patients for row in shares
        ):
            raise ValueError("shares of a true class are not negative and add up to 1")


@dataclass(frozen=True)
class Quantity:
    """The estimator of percent viable that leads, and the figures of both.

    Attributes
    ----------
    estimator : {"soft", "hard"}
        The one with the smaller error: `soft` splits each cell by its probabilities, `hard` counts each as its most
        probable class. This is how `model.json` spells them; settings and results say `by_class` for `hard`.
    soft, hard : EstimatorFigures
        Figures of each.
    """

    estimator: Literal["soft", "hard"]
    soft: EstimatorFigures
    hard: EstimatorFigures
    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    @property
    def leading(self) -> Estimator:
        """The estimator that leads, as settings and results call it."""
        return "soft" if self.estimator == "soft" else "by_class"

    def of(self, estimator: Estimator) -> EstimatorFigures:
        """Figures of one of the two."""
        return self.soft if estimator == "soft" else self.hard


def quantity_facts(quantity: Quantity | None) -> dict[str, Any] | None:
    """A `Quantity` as JSON-ready facts; None stays None."""
    return None if quantity is None else asdict(quantity)


def read_quantity(facts: Any) -> Quantity | None:
    """The inverse of `quantity_facts`.

    Raises
    ------
    ValueError
        The facts are of another form.

    Examples
    --------
    >>> read_quantity(None) is None
    True
    """
    return TypeAdapter(Quantity | None).validate_json(json.dumps(facts))
