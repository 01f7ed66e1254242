"""Training variants, compared on the same tiles, folds and seeds."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.metrics.difference import Difference, paired_difference
from wsi_necrosis.metrics.figures import missing_classes
from wsi_necrosis.settings.evaluation import EvaluationSettings, Variant, variant_settings
from wsi_necrosis.settings.train import TrainSettings
from wsi_necrosis.training.figures import by_case_tables, case_table, tile_table
from wsi_necrosis.training.fit_state import heads_of
from wsi_necrosis.training.leave_case_out import FitSetup, HeldOut, certain_labels, hold_out, threads_of
from wsi_necrosis.training.quantity import measure_held_out
from wsi_necrosis.training.samples import SampleCache, Samples

from .cost import seconds_per_tile

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """Held-out predictions of one variant: samples, and probabilities (seeds, m, 3) of their crops."""

    variant: Variant
    samples: Samples
    held: HeldOut
    seeds: tuple[int, ...]

    @property
    def by_tile(self) -> NDArray[np.float64]:
        """Probabilities (seeds, n, 3) of the tiles that have one class."""
        certain, _ = certain_labels(self.samples.tiles)
        return np.stack([self.samples.by_tile(prob)[certain] for prob in self.held.prob])


@dataclass(frozen=True)
class Comparison:
    """What all variants share: the tiles' samples, the model's training settings, and the settings of the evaluation.

    Fits run in `pool` where one is given. They save their state in `work`, so that an interrupted comparison resumes.
    """

    cache: SampleCache
    settings: TrainSettings
    rules: EvaluationSettings
    pool: Executor | None = None
    work: Path | None = None

    def judge(self, variant: Variant, seeds: Sequence[int]) -> Judged:
        """Leave each case out in turn, with each seed, under the variant's settings and one member."""
        settings = self.settings_of(variant)
        log.info("variant %s", variant.name)
        samples = self.cache.samples(settings)
        return Judged(
            variant, samples, hold_out(self.setup(samples, settings), seeds, self.pool), tuple(seeds)
        )

    def settings_of(self, variant: Variant) -> TrainSettings:
        """Settings of a variant; one member, so that none gains by averaging."""
        changed = {"network.members": 1, **variant.set}
        return variant_settings(self.settings, variant.model_copy(update={"set": changed}))

    def setup(self, samples: Samples, settings: TrainSettings) -> FitSetup:
        """The setup of a variant's fits, with as many threads as training used."""
        setup = FitSetup.of(samples, settings, self.work)
        return replace(setup, threads=threads_of(self.settings))

    def row(self, judged: Judged, main: Judged) -> dict[str, Any]:
        """Figures of a variant, and its difference from the main one with the same seeds."""
        bins, prob = self.rules.calibration_bins, judged.held.prob
        cases = case_table(judged.samples, prob)
        _, labels = certain_labels(judged.samples.tiles)
        settings = self.settings_of(judged.variant)
        simulated = measure_held_out(judged.samples, prob, self.rules.seed)
        same = [main.seeds.index(seed) for seed in judged.seeds]
        difference = paired_difference(labels, judged.by_tile, main.by_tile[same], self.rules)
        return {
            "title": judged.variant.title,
            "group": judged.variant.group,
            "set": dict(judged.variant.set),
            "backbone": settings.network.backbone,
            "fusion": settings.network.fusion,
            "heads": heads_of(settings.fit),
            "cost_s": seconds_per_tile(judged.samples.pixels[: self.rules.cost_tiles], settings),
            "seeds": len(judged.seeds),
            "crops": len(judged.samples),
            "missing_classes": list(missing_classes(labels)),
            "tile": tile_table(judged.samples, prob, bins),
            "by_case": {
                case: {
                    name: table[name] for name in ("accuracy", "macro_f1", "balanced_accuracy", "auc_macro")
                }
                for case, table in by_case_tables(judged.samples, prob, bins).items()
            },
            "cases": {case: {"soft": found["soft"], "hard": found["hard"]} for case, found in cases.items()},
            "quantity": None if simulated.quantity is None else asdict(simulated.quantity),
            "simulation": simulated.figures,
            "difference": _rounded(difference),
        }


def _rounded(difference: Difference) -> dict[str, Any]:
    ends = {"by_seed": difference.by_seed, "by_tile": difference.by_tile}
    return {
        "mean": round(difference.mean, 4),
        **{name: None if pair is None else [round(end, 4) for end in pair] for name, pair in ends.items()},
        "confidence": difference.confidence,
    }
