"""Views of training crops: turned, mirrored, and varied as laboratories, microscopes and cameras differ.

A view depends on its tile's content alone, never on which other tiles are there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.settings.train import CropSettings
from wsi_necrosis.stain.imaging import defocus, draw_light, relight
from wsi_necrosis.stain.recolour import draw_jitter, jitter_stains

TURNS = 8


@dataclass(frozen=True)
class Views:
    """Crops of tiles and how they are varied: `of(row)` gives the views (views, h, w, 3) of one crop."""

    tiles: tuple[LabelledTile, ...]
    owner: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    crops: CropSettings

    def of(self, row: int) -> NDArray[np.uint8]:
        """Views of a crop; the first is the crop as it is."""
        tile = int(self.owner[row])
        place = row - int(np.searchsorted(self.owner, tile))
        views = [self.pixels[row]]
        for view in range(1, self.crops.views):
            rng = np.random.default_rng([int(self.tiles[tile].sha256[:16], 16), place, view])
            views.append(vary(self.pixels[row], view, rng, self.crops))
        return np.stack(views)


def vary(
    pixels: NDArray[np.uint8], turn: int, rng: np.random.Generator, crops: CropSettings
) -> NDArray[np.uint8]:
    """One crop (h, w, 3) turned, and varied in the order in which a slide is made: stains, focus, light and gamma.

    `turn` counts eight: quarter turns, then their mirrors.
    """
    turned = np.rot90(pixels, turn % 4)
    turned = turned if turn < TURNS // 2 else turned[:, ::-1]
    if crops.jitter or crops.jitter_od:
        turned = jitter_stains(turned, *draw_jitter(rng, crops.jitter, crops.jitter_od))
    if crops.defocus_um:
        turned = defocus(turned, rng.uniform(0, crops.defocus_um), crops.mpp_um)
    if crops.brightness or crops.white_balance or crops.gamma:
        turned = relight(turned, draw_light(rng, crops.brightness, crops.white_balance, crops.gamma))
    return np.ascontiguousarray(turned)
