"""Level-0 reading by OpenSlide, tile by tile, through a torch DataLoader, in a fresh process; prints JSON.

    python benchmarks/level0_run.py SLIDE MODEL PLAN --loaders 2 [--keep-memory]

Many tools, WSInfer among them, work in this way, which is written anew here: every tile is read at level 0 and reduced
by Pillow, and the network runs in float32. Network, weights and tiles are those of this project's run.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openslide
import torch
from peer import SAME_PIXELS, enter, load_network, peer_prob, report
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from wsi_necrosis.model.spec import ModelSpec

BATCH_TILES = 32


class Tiles(Dataset):  # type: ignore[type-arg]
    """Tiles as float tensors (3, side, side) in [0, 1]; each loader process opens the slide for itself."""

    def __init__(self, path: Path, cells: np.ndarray, spec: ModelSpec) -> None:
        self.path, self.cells, self.tile_px = path, cells, spec.tile_px
        with openslide.OpenSlide(path) as slide:
            mpp = float(slide.properties[openslide.PROPERTY_NAME_MPP_X])
        self.span_l0 = round(spec.tile_px * spec.mpp / mpp)
        self.slide: openslide.OpenSlide | None = None

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.pixels(index)).permute(2, 0, 1).float() / 255

    def pixels(self, index: int) -> np.ndarray:
        """uint8 (side, side, 3)."""
        if self.slide is None:
            self.slide = openslide.OpenSlide(self.path)
        row, col = (int(k) * self.span_l0 for k in self.cells[index])
        region = self.slide.read_region((col, row), 0, (self.span_l0, self.span_l0)).convert("RGB")
        return np.array(region.resize((self.tile_px, self.tile_px), Image.Resampling.BILINEAR))


def main() -> None:
    entry = enter(__doc__)
    with entry.stats.stage("model"):
        network = load_network(entry.model)
    plan = np.load(entry.plan)
    cells = np.stack([plan["row"], plan["col"]], axis=1)
    with entry.stats.stage("score"), torch.inference_mode():
        tiles = Tiles(entry.slide, cells, entry.spec)
        batches = DataLoader(tiles, BATCH_TILES, num_workers=entry.loaders)
        prob = np.concatenate([peer_prob(network, batch).numpy() for batch in batches])
    report(entry, cells, prob, [tiles.pixels(k) for k in range(min(SAME_PIXELS, len(cells)))])


if __name__ == "__main__":
    main()
