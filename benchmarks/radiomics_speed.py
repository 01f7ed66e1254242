"""Both radiomics engines on the same tiles in one run, per feature class: `python benchmarks/radiomics_speed.py`.

pyradiomics is measured through its own feature classes, with its own binning; `--tiles` tiles of 512 px, 32
levels, full mask, one core. Medians over tiles; in each channel pyradiomics measures all of them, then the compiled
engine does.
"""

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import SimpleITK
from PIL import Image as Picture
from radiomics import getFeatureClasses

from wsi_necrosis.memory import keep_freed_memory
from wsi_necrosis.radiomics import compiled
from wsi_necrosis.radiomics.extraction import extract, prepare
from wsi_necrosis.radiomics.families import FAMILIES
from wsi_necrosis.radiomics.nuclei import find_nuclei
from wsi_necrosis.radiomics.nuclei_statistics import describe_nuclei
from wsi_necrosis.radiomics.planes import Image, split, to_range
from wsi_necrosis.radiomics.recipe import RECIPES

CLASSES = tuple(family for family in FAMILIES if family != "nuclei")
SIDE = 512
CHANNELS = {"luminance": 256.0, "haematoxylin": 2.0}  # with the top of their range
COLD = """
import time, numpy as np
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.radiomics.recipe import RECIPES
start = time.perf_counter()
prepare(RECIPES["full"], 0.5)
print(time.perf_counter() - start)
"""


def seconds(work: Callable[[], object], times: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def tiles(folder: Path, count: int) -> list[np.ndarray]:
    """The first tiles of each class in turn, 512 px at 0.5 um/px."""
    with (folder / "labels.csv").open(newline="") as lines:
        rows = sorted(csv.DictReader(lines), key=lambda row: (row["label"], row["file"]))
    names = [rows[index]["file"] for index in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    return [np.asarray(Picture.open(folder / name).convert("RGB"))[:SIDE, :SIDE].copy() for name in names]


def pyradiomics(image: Image, family: str) -> None:
    """One feature class of pyradiomics, all features."""
    measured = getFeatureClasses()[family](
        SimpleITK.GetImageFromArray(image.values.astype(np.float64)[None]),
        SimpleITK.GetImageFromArray(image.mask[None].astype(np.uint8)),
        binWidth=image.width,
        force2D=True,
        distances=[1],
    )
    measured.logger.setLevel("ERROR")  # it warns on every tile that SumAverage is redundant
    measured.execute()


def compare(pictures: list[np.ndarray], channel: str) -> None:
    top = CHANNELS[channel]
    full = np.ones((SIDE, SIDE), bool)
    images = [Image(to_range(split(tile, [channel])[channel], top), full, top / 32, top) for tile in pictures]
    compiled.measure_image(images[0], CLASSES, (1,))
    theirs = {family: [seconds(lambda: pyradiomics(image, family)) for image in images] for family in CLASSES}  # noqa: B023
    ours = {
        family: [seconds(lambda: compiled.measure_image(image, [family], (1,)), 5) for image in images]  # noqa: B023
        for family in CLASSES
    }
    together = [seconds(lambda: compiled.measure_image(image, CLASSES, (1,)), 5) for image in images]  # noqa: B023
    for family in CLASSES:
        row(channel, family, np.median(theirs[family]), np.median(ours[family]))
    row(channel, "all 93", np.median(np.sum(list(theirs.values()), axis=0)), np.median(together))


def row(channel: str, name: str, theirs: float, ours: float) -> None:
    print(f"| {channel} | {name} | {theirs * 1e3:.1f} | {ours * 1e3:.2f} | {theirs / ours:.0f} |", flush=True)


def nuclei(pictures: list[np.ndarray]) -> None:
    """Nuclei of a tile at 0.5 um/px beside all texture of one channel."""
    rule, full = RECIPES["full"].nucleus, np.ones((SIDE, SIDE), bool)
    found, texture = [], []
    for tile in pictures:
        planes = split(tile, ["haematoxylin", "residual"])
        haematoxylin = planes["haematoxylin"]
        image = Image(to_range(haematoxylin, 2.0), full, 2 / 32, 2.0)

        def work(haematoxylin: np.ndarray = haematoxylin, residual: np.ndarray = planes["residual"]) -> None:
            labels = find_nuclei(haematoxylin, residual, full, rule, 0.5)
            describe_nuclei(labels, haematoxylin, full, rule, 0.5)

        work()
        found.append(seconds(work, 5))
        texture.append(seconds(lambda: compiled.measure_image(image, CLASSES[1:], (1,)), 5))  # noqa: B023
    print(
        f"nuclei, found and described: {np.median(found) * 1e3:.2f} ms a tile (slowest {np.max(found) * 1e3:.2f}); "
        f"texture of one channel: {np.median(texture) * 1e3:.2f} ms"
    )


def threads(pictures: list[np.ndarray]) -> None:
    """Tiles per second of the recipe `full` by one thread and by two."""
    batch = [tile[None] for tile in pictures * 4]
    mask = np.ones((1, SIDE, SIDE), bool)
    speed: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(5):
        for count, speeds in speed.items():
            with ThreadPoolExecutor(count) as pool:
                took = seconds(
                    lambda: list(pool.map(lambda tile: extract(tile, mask, RECIPES["full"], 0.5), batch))
                )
            speeds.append(len(batch) / took)
    one, two = np.median(speed[1]), np.median(speed[2])
    print(f"recipe full, {SIDE} px: {one:.1f} tiles/s by one thread, {two:.1f} by two: {two / one:.2f} times")


def recipes(pictures: list[np.ndarray]) -> None:
    """Milliseconds per tile of 224 px at 1.0 um/px, one core."""
    small = np.stack(
        [tile[:448, :448].reshape(224, 2, 224, 2, 3).mean((1, 3)).astype(np.uint8) for tile in pictures]
    )
    mask = np.ones(small.shape[:3], bool)
    for name, recipe in RECIPES.items():
        prepare(recipe, 1.0)
        took = seconds(lambda: extract(small, mask, recipe, 1.0), 5) / len(small)  # noqa: B023
        print(f"recipe {name}: {len(recipe.names)} features, {took * 1e3:.2f} ms per tile of 224 px")


def memory(pictures: list[np.ndarray]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batch = np.stack(pictures * 4)
    extract(batch, np.ones(batch.shape[:3], bool), RECIPES["full"], 0.5)
    held = batch.nbytes / 2**20
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    print(
        f"peak memory grew by {grown:.0f} MB over a batch of {len(batch)} tiles, whose pixels are {held:.0f} MB"
    )


def cold_start(cache: Path) -> None:
    """Seconds to be ready in a fresh process, with an empty cache and with a filled one."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    for state in ("empty", "filled"):
        done = subprocess.run(
            [sys.executable, "-c", COLD], env=environment, capture_output=True, text=True, check=True
        )
        print(f"ready in {float(done.stdout):.1f} s, the cache being {state}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiles", type=int, default=6)
    parser.add_argument("--cache", type=Path, default=Path("build/numba-cache"), help="an empty folder")
    arguments = parser.parse_args()
    keep_freed_memory()  # as every run does
    root = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("WSI_NECROSIS_DATA", root.parent / "shared" / "data"))
    pictures = tiles(data / "tcia_os", arguments.tiles)
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.machine()}  python benchmarks/radiomics_speed.py")
    memory(pictures)
    print("| channel | class | pyradiomics ms | compiled ms | ratio |\n|---|---|---|---|---|")
    for channel in CHANNELS:
        compare(pictures, channel)
    nuclei(pictures)
    threads(pictures)
    recipes(pictures)
    cold_start(arguments.cache)


if __name__ == "__main__":
    main()
