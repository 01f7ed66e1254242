"""Doubt about a percentage: how decided the model is on a slide's tissue, and warnings about the number itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from wsi_necrosis.model.calibration import entropy
from wsi_necrosis.model.quantity import Estimator, EstimatorFigures
from wsi_necrosis.quantify.cells import Cells
from wsi_necrosis.settings.run import QuantifySettings


@dataclass(frozen=True)
class ResultWarning:
    """A limitation of a result.

    Attributes
    ----------
    code : str
        A fixed word, to search and count by: one of `sentences.SHORT`.
    text : str
        One sentence for a reader.
    """

    code: str
    text: str


@dataclass(frozen=True)
class Decision:
    """How decided the model is on a slide, by probabilities that no temperature has touched.

    Attributes
    ----------
    top_prob : float
        Mean over the scored tissue of a cell's largest class probability: from 1/3 (a guess) to 1.
    entropy : float
        Mean over the same tissue of a cell's entropy over ln 3: from 0 (certain) to 1 (a guess).
    """

    top_prob: float
    entropy: float

    def is_undecided(self, settings: QuantifySettings) -> bool:
        """Whether a result should say that the model is undecided."""
        return self.top_prob < settings.undecided_top_prob or self.entropy > settings.undecided_entropy

    def rules_out(self, settings: QuantifySettings) -> bool:
        """Whether the slide is not evaluable for it."""
        return self.top_prob < settings.not_evaluable_top_prob


def decision_of(cells: Cells) -> Decision | None:
    """How decided the model is on the tissue of a slide's cells; None where no tissue was scored.

    Cells count by their tissue. Those unlike the training tiles or out of focus are left out, as their probabilities
    say nothing of the rest, unless there are no others.
    """
    weight = np.where(cells.unfit, 0, cells.tissue)
    if not weight.any():
        weight = cells.tissue
    if not weight.any():
        return None
    kept = weight > 0
    prob, weight = cells.prob[kept], weight[kept]
    return Decision(
        float(np.average(prob.max(axis=1), weights=weight)), float(np.average(entropy(prob), weights=weight))
    )


def doubts(
    percents: Mapping[Estimator, float],
    estimator: Estimator,
    figures: EstimatorFigures | None,
    decision: Decision | None,
    settings: QuantifySettings,
) -> Iterator[ResultWarning]:
    """Warnings about a percentage.

    Parameters
    ----------
    percents : mapping
        Percent viable by each estimator, 0 to 100; empty where the slide is not evaluable.
    estimator : {"soft", "by_class"}
        The one that leads.
    figures : EstimatorFigures or None
        What is known of the leading estimator.
    decision : Decision or None
        How decided the model is.
    settings : QuantifySettings
        Limits of each.
    """
    if percents and abs(percents["soft"] - percents["by_class"]) > settings.max_estimator_gap:
        yield ResultWarning(
            "estimators_differ",
            f"percent viable is {percents['soft']:.1f} by probability and {percents['by_class']:.1f} by class: more "
            f"than {settings.max_estimator_gap:g} points apart",
        )
    if percents and figures is not None:
        yield from _within_limits(percents[estimator], figures)
    if decision is not None and decision.is_undecided(settings):
        yield ResultWarning(
            "undecided",
            f"the model is undecided: over the tissue, the likeliest class has a mean probability of "
            f"{decision.top_prob:.2f}, and the mean entropy is {decision.entropy:.2f} of the largest possible",
        )


def _within_limits(percent: float, figures: EstimatorFigures) -> Iterator[ResultWarning]:
    if figures.blank is not None and percent <= figures.blank.limit:
        yield ResultWarning(
            "within_limit_of_blank",
            f"{percent:.1f} % cannot be told from no viable tumour: this model reads up to "
            f"{figures.blank.limit:.1f} % where there is none",
        )
    if figures.full is not None and percent >= figures.full.limit:
        yield ResultWarning(
            "within_limit_of_full",
            f"{percent:.1f} % cannot be told from tumour that is all viable: this model reads down to "
            f"{figures.full.limit:.1f} % where it is",
        )
