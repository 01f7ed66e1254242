"""The stages of scoring by a single thread, without other load, over the same tiles as a run; prints JSON.

    python benchmarks/parts_run.py SLIDE [--set A.B=V ...]

Blocks are scored as a worker scores them, one after another: no Dask, no second thread, no other process.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wsi_necrosis.inference.job import slide_normaliser
from wsi_necrosis.inference.plan import make_plan
from wsi_necrosis.inference.scorer import Scorer
from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.overview import read_overview
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.grid import PixelCount, cell_pixels
from wsi_necrosis.tiling.tissue import find_tissue


@dataclass
class Meter(WorkerStats):
    """Wall seconds, processor seconds and bytes read by stage."""

    cpu: dict[str, float] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        cpu, read = time.process_time(), _bytes_read()
        with super().stage(name):
            yield
        self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() - cpu
        self.bytes[name] = self.bytes.get(name, 0) + _bytes_read() - read


def _bytes_read() -> int:
    """Bytes that this process has asked the system for by read calls; 0 where the system does not say."""
    path = Path("/proc/self/io")
    return int(path.read_text().split()[1]) if path.exists() else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slide", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V")
    parser.add_argument("--started", type=float, default=0.0)
    arguments = parser.parse_args()
    settings, meter = load_settings(overrides=arguments.set), Meter()
    torch.set_num_threads(1)
    with open_slide(arguments.slide) as slide, tempfile.TemporaryDirectory() as folder:
        plan = make_plan(slide, settings)
        model = load_model(settings.model.name, plan.backend)
        prepare(plan.spec.recipe, plan.grid.mpp.side, settings.radiomics.engine)
        overview = read_overview(slide, settings.tissue.mpp_um)
        mask = find_tissue(overview, settings.tissue)
        px = cell_pixels(plan.grid, mask)
        facts = {"inputs": plan.inputs, "features": plan.spec.recipe.names}
        store = ScoreStore.create(Path(folder) / "slide", plan.grid, px, mask.px_mm2, facts)
        normaliser = slide_normaliser(plan.spec, overview, mask)
        batch, engine = plan.batch_tiles, settings.radiomics.engine
        scorer = Scorer(slide, model, plan.grid, batch, engine, normaliser)
        tiles = []
        for block in plan.grid.blocks():
            wanted = int((px[block.cells][..., PixelCount.TISSUE] > 0).sum())
            if wanted:
                scores = scorer.score(block, px[block.cells], meter)
                with meter.stage("write"):
                    store.write_block(block, scores)
                tiles.append(wanted)
    found = {"tiles": sum(tiles), "tiles_by_block": tiles, "cpu": meter.cpu, "wall": meter.seconds}
    print(json.dumps(found | {"read_bytes": meter.bytes["read"]}))


if __name__ == "__main__":
    main()
