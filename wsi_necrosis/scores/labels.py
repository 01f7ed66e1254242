"""Labels of cells: their class, or that they abstained or were unreadable, under given settings."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.scores.block_scores import CellState, Scores
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.quality import Measure


class CellLabel(IntEnum):
    """Label of a cell under given settings; classes are 1 + their index."""

    NONE = 0
    NON_TUMOUR = 1
    NON_VIABLE = 2
    VIABLE = 3
    ABSTAINED = 4
    UNREADABLE = 5


def cell_class(scores: Scores, settings: QuantifySettings) -> NDArray[np.uint8]:
    """`CellLabel` of every cell; its class is that of largest probability.

    Parameters
    ----------
    scores : Scores
        The slide's scores.
    settings : QuantifySettings
        Cells above `max_ood`, `max_defocus` or `max_uncertainty` abstain, as do those whose distance
        or uncertainty is NaN.

    Returns
    -------
    uint8 array (rows, cols)
    """
    scored = scores.state == CellState.SCORED
    best = np.argmax(np.where(scored[..., None], scores.prob, 0), axis=-1).astype(np.uint8) + 1
    uncertainty = np.minimum(scores.uncertainty, 1)  # rounding may raise an entropy just above its maximum
    unfit = ood_cells(scores, settings) | defocused_cells(scores, settings)
    abstained = unfit | (scored & _beyond(uncertainty, settings.max_uncertainty))
    label = np.where(scored, np.where(abstained, CellLabel.ABSTAINED, best), CellLabel.NONE)
    return np.where(scores.state == CellState.UNREADABLE, CellLabel.UNREADABLE, label).astype(np.uint8)


def ood_cells(scores: Scores, settings: QuantifySettings) -> NDArray[np.bool_]:
    """Scored cells (rows, cols) that are farther from the training tiles than `settings.max_ood` allows."""
    return np.asarray((scores.state == CellState.SCORED) & _beyond(scores.ood, settings.max_ood))


def defocused_cells(scores: Scores, settings: QuantifySettings) -> NDArray[np.bool_]:
    """Scored cells (rows, cols) that are not `ood_cells` and more out of focus than `settings.max_defocus` allows."""
    defocus = scores.quality[..., Measure.DEFOCUS]
    scored = scores.state == CellState.SCORED
    # Not `_beyond`: NaN stands for a tile without contrast, or a model without a limit, and is no failure.
    return np.asarray(scored & (defocus > settings.max_defocus) & ~ood_cells(scores, settings))


def _beyond(measured: NDArray[np.float32], limit: float) -> NDArray[np.bool_]:
    """Where something measured is not within its limit, as is what could not be measured (NaN)."""
    return np.asarray(~(measured <= limit))
