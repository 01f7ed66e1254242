"""Painted tiles of three cases, and settings small enough for them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.settings.train import TrainSettings, load_train_settings
from wsi_necrosis.slides.phantom import phantom_tiles
from wsi_necrosis.training.samples import Samples
from wsi_necrosis.training.views import Views

TINY = (
    "data.tiles=.", "data.mpp_um=0.5", "crops.tile_px=32", "crops.per_side=2", "crops.views=2", "crops.min_tissue=0",
    "crops.min_nuclei_per_mm2=0", "crops.workers=1", "crops.batch=8", "network.backbone=test_byobnet",
    "network.initial=random", "network.hidden=8", "network.gate_hidden=4", "network.recipe=phantom",
    "network.fusion=gate", "fit.l2=0", "fit.weight_decay=1e-2", "fit.epochs=15", "fit.batch=8",
    "fit.learning_rate=1e-2", "fit.test_seeds=[1]", "fit.device=cpu",
)  # fmt: skip

STILL = (  # views that differ in their direction alone
    "crops.jitter=0", "crops.jitter_od=0", "crops.defocus_um=0", "crops.brightness=0", "crops.white_balance=0",
    "crops.gamma=0",
)  # fmt: skip


def tiny(*overrides: str) -> TrainSettings:
    """Shipped settings, small enough for the painted tiles."""
    return load_train_settings(None, (*TINY, *overrides))


def save_tile(path: Path, pixels: NDArray[np.uint8], label: int, case: str, slide: str = "s") -> LabelledTile:
    """A picture of 0.5 um per pixel, and what is known of it."""
    Image.fromarray(pixels).save(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LabelledTile(path, CERTAIN[label], case, slide, 0, 0, 0.5, sha256)


def painted_tiles(
    folder: Path, cases: str = "ABC", each: int = 2, side: int = 96
) -> tuple[LabelledTile, ...]:
    """So many tiles of each of the phantom's materials in each case; four crops of 32 px at 1 um fit into one."""
    rng = np.random.default_rng(3)
    tiles = []
    for label, name in enumerate(CLASSES):
        pixels = iter(phantom_tiles(name, len(cases) * each, side, rng, mpp_um=0.5))
        tiles += [
            save_tile(folder / f"{case}-{name}-{at}.png", next(pixels), label, case)
            for case in cases
            for at in range(each)
        ]
    return tuple(sorted(tiles, key=lambda tile: tile.path.name))


def in_case(samples: Samples, case: str) -> NDArray[np.bool_]:
    """Which crops are of a case."""
    return samples.rows([tile for tile in samples.tiles if tile.case == case])


def relabelled(samples: Samples, case: str) -> Samples:
    """Tiles of a case with the next class."""
    tiles = tuple(
        replace(tile, truth=(tile.truth[2], *tile.truth[:2])) if tile.case == case else tile
        for tile in samples.tiles
    )
    return replace(samples, tiles=tiles)


def views_of(samples: Samples, *overrides: str) -> Views:
    """Views of the crops of samples, under other settings."""
    return Views(samples.tiles, samples.owner, samples.pixels, tiny(*overrides).crops)
