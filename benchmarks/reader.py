"""The fast reader against openslide-python, on the same regions of one slide, alternately in one run.

    python benchmarks/reader.py                      # a montage of 10 x 10 labelled tiles, 256 px stored tiles
    python benchmarks/reader.py --tile-px 240
    python benchmarks/reader.py --slide slide.svs

Regions are squares of 512 px at the resolution wanted: that of level 0, and half of it. They lie side by
side and are read in random order, by one and by two threads; every pass opens the slide anew. The
montage is made by the data folder's `tools/montage.py` (WSI_NECROSIS_DATA, else ../shared/data). Prints
regions per second, medians over the rounds, and the medians of the rounds' ratios; then by how much
pixels differ from OpenSlide's (at half resolution from the averages of its areas), and the default
model's probabilities of tiles read at half resolution.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import openslide

from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.radiomics.extraction import extract
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.tiling.foreground import foreground

ROOT = Path(__file__).resolve().parents[1]
SIDE_PX = 512  # of a region, at the resolution wanted
NOMINAL = Mpp(0.5, 0.5)  # of level 0 where the slide states none; only its ratio to the wanted one matters
NEAR = 0.01  # for probabilities
FACTORS = {"level 0": 1, "half": 2}
Corners = list[tuple[int, int]]


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    mpp: Mpp
    resolution: str
    threads: int

    @property
    def factor(self) -> int:
        return FACTORS[self.resolution]


def fast(path: Path, corners: Corners, case: Case) -> float:
    side = SIDE_PX * case.factor
    with open_slide(path, case.mpp, reader="jpeg-tiff") as slide:
        wanted = case.mpp.scaled(case.factor, case.factor)
        return timed(lambda corner: slide.read(Box(*corner, side, side), wanted), corners, case.threads)


def by_openslide(path: Path, corners: Corners, case: Case) -> float:
    side = SIDE_PX * case.factor
    with openslide.OpenSlide(path) as slide:

        def read(corner: tuple[int, int]) -> object:
            image = slide.read_region(corner, 0, (side, side)).convert("RGB")
            return np.asarray(image.reduce(case.factor) if case.factor > 1 else image)

        return timed(read, corners, case.threads)


def timed(read: Callable[[tuple[int, int]], object], corners: Corners, threads: int) -> float:
    """Regions per second."""
    with ThreadPoolExecutor(threads) as pool:
        start = time.perf_counter()
        for _ in pool.map(read, corners):
            pass
        return len(corners) / (time.perf_counter() - start)


def corners_of(size: tuple[int, int], factor: int, count: int, side_px: int = SIDE_PX) -> Corners:
    side = side_px * factor
    places = [(x, y) for y in range(0, size[1] - side + 1, side) for x in range(0, size[0] - side + 1, side)]
    order = np.random.default_rng(0).permutation(len(places))[:count]
    return [places[index] for index in order]


def make_montage(path: Path, arguments: argparse.Namespace) -> None:
    data = Path(os.environ.get("WSI_NECROSIS_DATA", ROOT.parent / "shared" / "data"))
    options = ["--cells", str(arguments.cells), "--tile-px", str(arguments.tile_px)]
    tool = [sys.executable, str(data.parent / "tools" / "montage.py"), "--tiles", str(data / "tcia_os")]
    subprocess.run([*tool, "--out", str(path), *options], check=True, stdout=subprocess.DEVNULL)


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


def measure(path: Path, arguments: argparse.Namespace) -> None:
    with open_slide(path) as slide:
        info = slide.info
    print(f"{path.name}: {info.size_l0[0]} x {info.size_l0[1]} px, downsamples {info.downsamples}\n")
    print(
        "| resolution | threads | regions | openslide-python /s | fast reader /s | ratio (lowest to highest) |"
    )
    print("|---|---|---|---|---|---|")
    mpp = info.mpp or NOMINAL
    for case in (Case(mpp, resolution, threads) for resolution in FACTORS for threads in (1, 2)):
        corners = corners_of(info.size_l0, case.factor, arguments.regions)
        rounds = [
            (by_openslide(path, corners, case), fast(path, corners, case)) for _ in range(arguments.rounds)
        ]
        slow, quick = (median(values) for values in zip(*rounds, strict=True))
        ratios = sorted(ours / theirs for theirs, ours in rounds)
        print(f"| {case.resolution} | {case.threads} | {len(corners)} | {slow:.0f} | {quick:.0f} | "
              f"{median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) |", flush=True)  # fmt: skip


def compare(path: Path, arguments: argparse.Namespace) -> None:
    """Print how pixels and probabilities of the two readers differ."""
    print("\n| resolution | regions | largest difference | mean difference, grey levels |\n|---|---|---|---|")
    for resolution, factor in FACTORS.items():
        ours, theirs = regions_of(path, factor, SIDE_PX, arguments.regions)
        apart = np.abs(ours - theirs)
        print(f"| {resolution} | {len(ours)} | {apart.max()} | {apart.mean():.3f} |")
    model = load_model("default")
    recipe, probs = model.spec.recipe, []
    for regions in regions_of(path, 2, model.spec.tile_px, arguments.regions):
        tiles = regions.astype(np.uint8)
        features, _ = extract(tiles, foreground(tiles), recipe, model.spec.mpp)
        probs.append(model.predict(tiles, features).prob)
    apart = np.abs(probs[0] - probs[1])
    within = (apart.max(axis=1) <= NEAR).mean()
    print(
        f"\nProbabilities of {len(apart)} tiles: {within:.0%} within {NEAR}, largest difference {apart.max():.4f}, "
        f"mean {apart.mean():.5f}"
    )


def regions_of(path: Path, factor: int, side_px: int, count: int) -> list[np.ndarray]:
    """The same regions by the fast reader and by OpenSlide, int16 (n, side, side, 3)."""
    found = []
    for reader in ("jpeg-tiff", "openslide"):
        with open_slide(path, reader=reader) as slide:
            mpp, side = slide.info.mpp or NOMINAL, side_px * factor
            corners = corners_of(slide.info.size_l0, factor, count, side_px)
            boxes = [Box(*corner, side, side) for corner in corners]
            wanted = mpp.scaled(factor, factor)
            found.append(np.stack([slide.read(box, wanted).rgb for box in boxes]).astype(np.int16))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slide", type=Path, help="a JPEG-tiled slide; without it a montage is made")
    parser.add_argument("--cells", type=int, default=10, help="of the montage, 1024 px each")
    parser.add_argument("--tile-px", type=int, default=256, help="side of the montage's stored tiles")
    parser.add_argument("--regions", type=int, default=100, help="regions of a pass, at most")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d}  {processor()}  python {' '.join(sys.argv)}")
    with tempfile.TemporaryDirectory() as scratch:
        path = arguments.slide or Path(scratch) / "montage.svs"
        if arguments.slide is None:
            make_montage(path, arguments)
        measure(path, arguments)
        compare(path, arguments)


if __name__ == "__main__":
    main()
