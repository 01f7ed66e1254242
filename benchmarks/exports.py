"""Memory and time of exports of made-up slides with many tiles; each format in a process of its own.

    python benchmarks/exports.py
    python benchmarks/exports.py --tiles 20000 200000 --formats csv geojson

A slide is a square of cells of 112 um, all scored, with blobs of the three classes and holes in its tissue. Peak memory
is that of the whole process, with what it imports. Prints rows for RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import zarr
from scipy import ndimage
from slides import processor

from wsi_necrosis.export.export_slide import WRITERS, Material
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.scores.block_scores import BlockScores, CellState
from wsi_necrosis.scores.slide_folder import FORMATS
from wsi_necrosis.scores.store import ScoreReader, ScoreStore
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.tiling.grid import TileGrid, cell_pixels
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

MASK_UM, CELL_PX, BLOCK_CELLS = 4.0, 28, 32  # um and mask pixels on a cell's side
FORMATS_TRIED = ("parquet", "csv", "tiles_geojson", "geojson", "geojson_gz", "ome_zarr", "ome_tiff")


def make(folder: Path, tiles: int) -> None:
    """A finished store and a mask of so many cells."""
    side = math.ceil(math.sqrt(tiles))
    rng = np.random.default_rng(0)
    plane = Box(0, 0, side * CELL_PX, side * CELL_PX)
    grid = TileGrid(plane, (1.0, 1.0), Mpp(MASK_UM, MASK_UM), CELL_PX, CELL_PX, BLOCK_CELLS)
    smooth = np.stack([ndimage.gaussian_filter(rng.normal(size=(side, side)), 3) for _ in range(3)], axis=-1)
    prob = np.exp(12 * smooth)
    prob = (prob / prob.sum(axis=-1, keepdims=True)).astype(np.float32)
    kind = np.full((side * CELL_PX, side * CELL_PX), MaskClass.TISSUE, np.uint8)
    for row in range(0, len(kind), 1024):  # holes of tissue, as fat and vessels have
        noise = ndimage.gaussian_filter(rng.normal(size=kind[row : row + 1024].shape).astype(np.float32), 6)
        kind[row : row + 1024][noise > 0.08] = MaskClass.GLASS
    mask = TissueMask(kind, plane, (1, 1), Mpp(MASK_UM, MASK_UM))
    px = cell_pixels(grid, mask)
    store = ScoreStore.create(folder, grid, px, mask.px_mm2, {"inputs": {}, "features": ["none"]})
    for block in grid.blocks():
        shape = (block.rows, block.cols)
        nothing = np.zeros(shape, np.float32)
        store.write_block(
            block,
            BlockScores(
                prob[block.cells], nothing + 0.3, nothing, np.zeros((*shape, 5), np.float32), px[block.cells],
                np.zeros((*shape, 1), np.float32), np.zeros((*shape, 2), np.float32),
                np.full(shape, CellState.SCORED, np.uint8),
            ),
        )  # fmt: skip
    zarr.create_array(folder / "mask.zarr", data=kind, chunks=(1024, 1024))


def export(folder: Path, name: str) -> None:
    """Write a file of a made slide; print seconds of reading and writing, and the peak memory in MB."""
    began = time.perf_counter()
    reader = ScoreReader(folder)
    scores = reader.read()
    read_s = time.perf_counter() - began
    if name:
        kind: Any = zarr.open_array(folder / "mask.zarr", mode="r")
        mask = TissueMask(kind, scores.grid.plane, (1, 1), Mpp(MASK_UM, MASK_UM))
        facts = {"mpp_x": MASK_UM, "mpp_y": MASK_UM, "working_mpp_x": MASK_UM, "working_mpp_y": MASK_UM}
        provenance = {
            "inputs": {"slide": {"fingerprint": "f"}},
            "slide": facts,
            "grid": {**facts, "tile_px": CELL_PX, "stride_px": CELL_PX},
            "model": {"name": "made up", "sha256": "0" * 64},
            "versions": {"wsi-necrosis": "0"},
        }
        result = {"slide_id": "made up", "provenance": provenance}
        nothing: Any = SimpleNamespace
        material = Material(result, nothing, mask, scores, reader, load_settings(), "")
        WRITERS[name](folder / name, material)
    write_s = time.perf_counter() - began - read_s
    # not `ru_maxrss`, which begins with that of the process that started this one
    status = Path("/proc/self/status").read_text()
    peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    path = folder / name
    size = path.stat().st_size if name and path.is_file() else 0
    print(json.dumps({"read_s": read_s, "write_s": write_s, "peak_mb": peak, "mb": size / 1e6}))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--formats", nargs="+", default=FORMATS_TRIED)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        export(Path(arguments.one[0]), arguments.one[1])
        return
    print(f"{processor()}\n\n| file | tiles | peak MB | of the first | s | of reading the store | MB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for tiles in arguments.tiles:
            make(Path(scratch) / str(tiles), tiles)
        names = ["", *(FORMATS[each][0] for each in arguments.formats)]
        for name in names:
            first = 0.0
            for tiles in arguments.tiles:
                command = [sys.executable, __file__, "--one", str(Path(scratch) / str(tiles)), name]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                found = json.loads(done.stdout)
                first = first or found["peak_mb"]
                ratio = found["write_s"] / found["read_s"]
                print(
                    f"| {name or 'only read'} | {tiles:,} | {found['peak_mb']:.0f} | "
                    f"{found['peak_mb'] / first:.2f} | {found['write_s']:.1f} | {ratio:.1f} | {found['mb']:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
