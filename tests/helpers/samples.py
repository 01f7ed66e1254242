"""Samples with empty crops, for tests of figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.radiomics.recipe import find_recipe
from wsi_necrosis.training.samples import Samples

N, X, V = range(3)  # non-tumour, non-viable, viable


def samples(*labels: tuple[str, int | None], crops: int = 1) -> Samples:
    """Tiles of (case, label), each with so many empty crops."""
    tiles = tuple(
        LabelledTile(
            path=Path(f"{at}.png"),
            truth=(0.0, 0.5, 0.5) if label is None else CERTAIN[label],
            case=case,
            slide="s",
            x_l0=0,
            y_l0=0,
            mpp=1.0,
            sha256=f"{at:064x}",
        )
        for at, (case, label) in enumerate(labels)
    )
    owner = np.repeat(np.arange(len(tiles)), crops)
    m = len(owner)
    return Samples(
        tiles, owner, np.zeros((m, 1, 1, 3), np.uint8), np.zeros((m, 1, 0), np.float32),
        np.zeros((m, 1, 0)), find_recipe("none"),
    )  # fmt: skip
