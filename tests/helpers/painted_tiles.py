"""Painted tiles of three cases, and settings of a tiny model that is trained on them in seconds."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.slides.phantom import phantom_tiles

CASES = {"A": CLASSES, "B": CLASSES, "C": ("non_tumour",)}
CONFIG = """
data:
  {tiles: $PAINTED_TILES, mpp_um: 0.5, source: Painted by hand,
   doi: 10.5555/none, licence: CC0, centre: none, note: Not tissue.}
crops: {tile_px: 32, per_side: 1, views: 2, workers: 1, batch: 8}
network:
  {name: tiny, title: A tiny model, backbone: test_byobnet, initial: random, fusion: gate, hidden: 8, gate_hidden: 4,
   recipe: phantom, members: 2}
fit: {epochs: 15, batch: 4, learning_rate: 0.01, test_seeds: [1, 2], save_every: 7, device: cpu}
"""


def paint(folder: Path, cases: Mapping[str, Sequence[str]], seed: int, each: int = 3) -> Path:
    """Write so many tiles of each of these materials for each case, and their table."""
    rng = np.random.default_rng(seed)
    rows = []
    for case, names in cases.items():
        for name in names:
            for at, pixels in enumerate(phantom_tiles(name, each, 64, rng, mpp_um=0.5)):
                file = f"{case}-{name}-{at}.png"
                Image.fromarray(pixels).save(folder / file)
                rows.append((file, case, name))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("file", "case", "label"), *rows])
    return folder
