"""Areas of the slide's plane by category, in mask pixels and mm2."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import cast

import numpy as np

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.model.quantity import Estimator
from wsi_necrosis.quantify.cells import Cells
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import PixelCount

ABSTAINED_FOR = ("ood", "defocus", "uncertainty")


@dataclass(frozen=True)
class AreaLedger:
    """Areas of the slide's plane by category: each mask pixel counts in the first term that applies.

    Attributes
    ----------
    outside_region, not_scanned, unreadable, background, abstained, non_tumour, non_viable, viable : int
        Mask pixels; the classes are those of largest probability. They add up to `total`.
    pixel_mm2 : float
        Area of one mask pixel in mm2.
    soft_mm2 : tuple of float
        The class terms' tissue split by probability, in the order of `classes.CLASSES`, in mm2.
    abstained_px : tuple of int
        `abstained` by the first reason that applies, in the order of `ABSTAINED_FOR`.
    """

    outside_region: int
    not_scanned: int
    unreadable: int
    background: int
    abstained: int
    non_tumour: int
    non_viable: int
    viable: int
    pixel_mm2: float
    soft_mm2: tuple[float, float, float]
    abstained_px: tuple[int, int, int]

    @property
    def px(self) -> dict[str, int]:
        """The terms in mask pixels; those of the classes are called `<class>_by_class`."""
        terms = (f.name for f in fields(self)[:-3])
        return {f"{name}_by_class" if name in CLASSES else name: getattr(self, name) for name in terms}

    @property
    def total(self) -> int:
        """Mask pixels of the slide's plane."""
        return sum(self.px.values())

    @property
    def tissue_mm2(self) -> float:
        """Tissue that was scored, with a class or abstained, in mm2."""
        return (self.abstained + self.non_tumour + self.non_viable + self.viable) * self.pixel_mm2

    @property
    def abstained_by(self) -> dict[str, int]:
        """Mask pixels that abstained, by reason."""
        return dict(zip(ABSTAINED_FOR, self.abstained_px, strict=True))

    def class_mm2(self, estimator: Estimator) -> tuple[float, float, float]:
        """Area of each class in mm2, in the order of `classes.CLASSES`, by sums of probability or by class."""
        if estimator == "soft":
            return self.soft_mm2
        non_tumour, non_viable, viable = (getattr(self, name) * self.pixel_mm2 for name in CLASSES)
        return non_tumour, non_viable, viable

    def area_mm2(self) -> dict[str, float]:
        """The terms in mm2, then the classes split by probability as `<class>_soft`."""
        terms = {name: count * self.pixel_mm2 for name, count in self.px.items()}
        return terms | {f"{name}_soft": area for name, area in zip(CLASSES, self.soft_mm2, strict=True)}


def ledger_of(scores: Scores, cells: Cells) -> AreaLedger:
    """Areas of a slide's plane; every mask pixel counts once."""
    px = scores.px.reshape(-1, len(PixelCount)).sum(axis=0, dtype=np.int64)
    # float64 weights are exact up to 2**53 pixels
    tissue = np.bincount(cells.label, weights=cells.tissue, minlength=len(CellLabel)).astype(np.int64)
    soft_mm2 = cells.soft.sum(axis=0) * scores.px_mm2
    ood, defocused = int(cells.tissue[cells.ood].sum()), int(cells.tissue[cells.defocused].sum())
    abstained = int(tissue[CellLabel.ABSTAINED])
    return AreaLedger(
        outside_region=int(px[PixelCount.OUTSIDE_REGION]),
        not_scanned=int(px[PixelCount.NOT_SCANNED]),
        unreadable=int(px[PixelCount.UNREADABLE]),
        background=int(px[PixelCount.BACKGROUND]),
        abstained=abstained,
        non_tumour=int(tissue[CellLabel.NON_TUMOUR]),
        non_viable=int(tissue[CellLabel.NON_VIABLE]),
        viable=int(tissue[CellLabel.VIABLE]),
        pixel_mm2=float(scores.px_mm2),
        soft_mm2=cast(tuple[float, float, float], tuple(soft_mm2.tolist())),
        abstained_px=(ood, defocused, abstained - ood - defocused),
    )
