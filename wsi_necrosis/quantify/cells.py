"""The cells of a slide as flat arrays, for areas and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.classes import CLASSES, NON_VIABLE, VIABLE
from wsi_necrosis.errors import StoreError
from wsi_necrosis.model.quantity import Estimator
from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.scores.labels import CellLabel, cell_class, defocused_cells, ood_cells
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount

PROB_TOLERANCE = 1e-2  # of a sum of probabilities; half-precision networks stay well within it


@dataclass(frozen=True)
class Cells:
    """Cells as flat arrays; probabilities are 0 where not scored, `ood` marks those unlike the training tiles.

    `defocused` marks those out of focus and not unlike; of neither do the probabilities say anything.
    """

    label: NDArray[np.uint8]
    ood: NDArray[np.bool_]
    defocused: NDArray[np.bool_]
    tissue: NDArray[np.int64]
    prob: NDArray[np.float64]
    centre_mm: NDArray[np.float64]

    @property
    def classed(self) -> NDArray[np.bool_]:
        """Cells that have a class."""
        return (self.label > 0) & (self.label < CellLabel.ABSTAINED)

    @property
    def unfit(self) -> NDArray[np.bool_]:
        """Cells unlike the training tiles or out of focus."""
        return self.ood | self.defocused

    @property
    def likely_tumour(self) -> NDArray[np.bool_]:
        """Cells that are at least as likely tumour as not."""
        return self.prob[:, NON_VIABLE] + self.prob[:, VIABLE] >= 0.5

    @property
    def soft(self) -> NDArray[np.float64]:
        """Tissue pixels (n, 3) of the cells that have a class, split by probability."""
        return np.asarray(self.prob * np.where(self.classed, self.tissue, 0)[:, None])

    @property
    def by_class(self) -> NDArray[np.float64]:
        """Tissue pixels (n, 3) of the cells that have a class, all in the likeliest one."""
        likeliest = self.label[:, None] == np.arange(1, 1 + len(CLASSES))
        return np.asarray(likeliest * self.tissue[:, None].astype(np.float64))

    def by(self, estimator: Estimator) -> NDArray[np.float64]:
        """`soft` or `by_class`."""
        return self.soft if estimator == "soft" else self.by_class


def cells_of(scores: Scores, settings: QuantifySettings) -> Cells:
    """The cells of a slide, row by row, labelled under the settings."""
    label = cell_class(scores, settings)
    prob = np.where((scores.state == CellState.SCORED)[..., None], scores.prob, 0).astype(np.float64)
    total = prob.sum(axis=-1, keepdims=True)
    prob = np.divide(prob, total, out=np.zeros_like(prob), where=total > 0)  # float32 sums to 1 only nearly
    rows, cols = label.shape
    side_mm = scores.grid.stride_px * scores.grid.mpp.x / 1e3, scores.grid.stride_px * scores.grid.mpp.y / 1e3
    row, col = np.indices((rows, cols))
    centre_mm = np.stack([(col + 0.5) * side_mm[0], (row + 0.5) * side_mm[1]], axis=-1)
    tissue = scores.px[..., PixelCount.TISSUE].astype(np.int64)
    return Cells(
        label.ravel(),
        ood_cells(scores, settings).ravel(),
        defocused_cells(scores, settings).ravel(),
        tissue.ravel(),
        prob.reshape(-1, len(CLASSES)),
        centre_mm.reshape(-1, 2),
    )


def require_complete(scores: Scores) -> None:
    """Require that every tissue pixel lies in a scored cell, and that scored cells hold probabilities.

    Raises
    ------
    StoreError
        There is other tissue, or what is no probability.
    """
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
