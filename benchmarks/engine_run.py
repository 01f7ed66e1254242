"""tiatoolbox's patch engine over a given tile plan, in a fresh process; prints JSON.

    python benchmarks/engine_run.py SLIDE MODEL PLAN --loaders 0 [--keep-memory]

The network, its weights and the tiles are those of this project's run: the plan goes in as a mask in which
one pixel of every wanted tile is set, and the engine, which takes each patch of its own grid that holds a
set pixel, arrives at the same tiles. All else is the engine's default.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import torch
import zarr
from peer import SAME_PIXELS, enter, load_network, peer_prob, report
from tiatoolbox.models import IOPatchPredictorConfig, PatchPredictor
from tiatoolbox.models.architecture.vanilla import CNNModel
from tiatoolbox.models.models_abc import ModelABC
from tiatoolbox.wsicore import WSIReader

from wsi_necrosis.model.network import Network
from wsi_necrosis.model.spec import ModelSpec

MASK_PX = 16  # working pixels per mask pixel; tile sides and slides are whole multiples of it


class EngineModel(ModelABC):
    """This project's network as a model of the engine, which makes and runs the batches in its own way."""

    infer_batch = staticmethod(CNNModel.infer_batch)

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, tiles: torch.Tensor) -> torch.Tensor:
        return peer_prob(self.network, tiles / 255)

    @staticmethod
    def postproc(image: np.ndarray) -> np.ndarray:
        return image.argmax(axis=-1)


def plan_mask(slide: Path, plan: Path, spec: ModelSpec) -> np.ndarray:
    """One set pixel in each wanted tile's corner."""
    cells = np.load(plan)
    width, height = WSIReader.open(slide).slide_dimensions(resolution=spec.mpp, units="mpp")
    if width % MASK_PX or height % MASK_PX or spec.tile_px % MASK_PX:
        raise SystemExit(f"{slide} has {width} x {height} working pixels, no multiple of {MASK_PX}")
    mask = np.zeros((height // MASK_PX, width // MASK_PX), np.uint8)
    step = spec.tile_px // MASK_PX
    mask[cells["row"] * step, cells["col"] * step] = 1
    return mask


def main() -> None:
    entry = enter(__doc__)
    logging.disable(logging.WARNING)
    spec = entry.spec
    with entry.stats.stage("model"):
        engine = PatchPredictor(
            EngineModel(load_network(entry.model)), num_workers=entry.loaders, verbose=False
        )
    side = (spec.tile_px, spec.tile_px)
    config = IOPatchPredictorConfig(
        patch_input_shape=side,
        stride_shape=side,
        input_resolutions=[{"units": "mpp", "resolution": spec.mpp}],
    )
    mask, out = plan_mask(entry.slide, entry.plan, spec), entry.plan.with_name("engine")
    with entry.stats.stage("score"):
        engine.run(
            [entry.slide],
            masks=[mask],
            patch_mode=False,
            ioconfig=config,
            save_dir=out,
            return_probabilities=True,
        )
    store = zarr.open_group(out / f"{entry.slide.stem}.zarr", mode="r")
    cells = np.asarray(store["coordinates"])[:, 1::-1] // spec.tile_px
    prob, dataset = np.asarray(store["probabilities"]), engine.dataloader.dataset
    shutil.rmtree(out)
    report(entry, cells, prob, [dataset[k]["image"] for k in range(min(SAME_PIXELS, len(cells)))])


if __name__ == "__main__":
    main()
