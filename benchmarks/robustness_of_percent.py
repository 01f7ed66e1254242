"""How far percent viable of one slide moves when its pixels change as those of laboratories and scanners do.

    python benchmarks/robustness_of_percent.py --model default
    python benchmarks/robustness_of_percent.py --model fast --only blur density

A montage of labelled tiles is made by the data folder's `tools/montage.py` (WSI_NECROSIS_DATA, else ../shared/data),
changed at level 0, and run. Prints a table for RESULTS.md: by how many points percent viable moved by the leading
estimator, by probability (soft) and by class (hard); how much of the tissue abstained; and which warnings the change
added. Percentages are on training tiles: they say nothing about how right the model is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from slides import make_montage, stamp

from wsi_necrosis.analysis import analyse
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.stain.separation import optical_density, stain_matrix

Pixels = NDArray[np.uint8]
MPP = 0.5
STRIP_PX = 1024  # rows that are changed at a time
HALO_PX = 64  # rows beyond, for changes that look around a pixel
GLASS = 243


@dataclass(frozen=True)
class Change:
    """What is done to the pixels, how the slide is written, and with which settings it is run."""

    pixels: Callable[[Pixels], Pixels] = lambda canvas: canvas
    mpp: float = MPP  # that the file states
    quality: int = 85  # of the JPEG compression
    settings: tuple[str, ...] = ()


def by_strips(change: Callable[[Pixels], Pixels]) -> Callable[[Pixels], Pixels]:
    """Change a canvas strip by strip, with rows around each."""

    def changed(canvas: Pixels) -> Pixels:
        out = np.empty_like(canvas)
        for top in range(0, len(canvas), STRIP_PX):
            first, stop = max(0, top - HALO_PX), min(len(canvas), top + STRIP_PX)
            part = change(canvas[first : stop + HALO_PX])
            out[top:stop] = part[top - first : stop - first]
        return out

    return changed


def rounded(values: NDArray[np.floating[Any]]) -> Pixels:
    return np.asarray(np.rint(values).clip(0, 255), np.uint8)


def stained(canvas: Pixels, factors: Sequence[float]) -> Pixels:
    """Densities of haematoxylin, eosin and residual times the factors."""
    matrix = stain_matrix()
    mapped = (np.linalg.inv(matrix) * np.asarray(factors) @ matrix).astype(np.float32)
    return rounded(256 * np.exp(-optical_density(canvas) @ mapped) - 1)


def multiplied(canvas: Pixels, factors: Sequence[float]) -> Pixels:
    return rounded(canvas * np.asarray(factors, np.float32))


def to_the_power(canvas: Pixels, power: float) -> Pixels:
    return rounded(255 * (np.arange(256) / 255) ** power)[canvas]


def blurred(canvas: Pixels, sigma_um: float) -> Pixels:
    sigma = (sigma_um / MPP, sigma_um / MPP, 0)
    return rounded(ndimage.gaussian_filter(canvas.astype(np.float32), sigma))


def smeared(canvas: Pixels, length_um: float) -> Pixels:
    return rounded(ndimage.uniform_filter1d(canvas.astype(np.float32), round(length_um / MPP), axis=1))


def recompressed(canvas: Pixels, quality: int) -> Pixels:
    file = BytesIO()
    Image.fromarray(canvas).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        return np.asarray(image)


def finer(canvas: Pixels) -> Pixels:
    """The same tissue in pixels of half the size: the middle half of the canvas, so that it stays as large."""
    quarter = len(canvas) // 4
    middle = Image.fromarray(canvas[quarter : 3 * quarter, quarter : 3 * quarter])
    return np.asarray(middle.resize((4 * quarter, 4 * quarter), Image.Resampling.BICUBIC))


def coarser(canvas: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(canvas).reduce(2))


def shifted(canvas: Pixels) -> Pixels:
    """By half a tile, 112 um, down and to the right; glass comes in."""
    step = round(112 / MPP)
    out = np.full_like(canvas, GLASS)
    out[step:, step:] = canvas[:-step, :-step]
    return out


def folded(canvas: Pixels) -> Pixels:
    """Six dark bands of 150 um across the slide, where tissue lies double: densities add up."""
    out, width = canvas.copy(), round(150 / MPP)
    for at in np.linspace(0.2, 0.8, 6):
        left = int(at * canvas.shape[1])
        band = optical_density(canvas[:, left : left + width])
        beside = optical_density(canvas[:, left + width : left + 2 * width])
        out[:, left : left + width] = rounded(256 * np.exp(-band - beside[:, ::-1]) - 1)
    return out


def bubbled(canvas: Pixels) -> Pixels:
    """Twelve air bubbles of 1 mm: out of focus and paler inside, with a dark rim."""
    out, rng = canvas.copy(), np.random.default_rng(3)
    radius = round(500 / MPP)
    rows, cols = np.mgrid[-radius:radius, -radius:radius]
    distance = np.hypot(rows, cols)
    for _ in range(12):
        top, left = rng.integers(len(canvas) // 8, len(canvas) * 7 // 8 - 2 * radius, 2)
        window = out[top : top + 2 * radius, left : left + 2 * radius]
        inside = 0.75 * ndimage.gaussian_filter(window.astype(np.float32), (8, 8, 0)) + 60
        window[distance < radius] = rounded(inside)[distance < radius]
        window[(distance < radius) & (distance > radius - 40)] = (60, 55, 60)
    return out


def marked(canvas: Pixels) -> Pixels:
    """Three translucent strokes of a green pen, 1 mm wide, over the slide."""
    out, width = canvas.copy(), round(1000 / MPP)
    for at in (0.25, 0.5, 0.7):
        top = int(at * len(canvas))
        out[top : top + width] = rounded(out[top : top + width] * np.array([0.2, 0.75, 0.45]))
    return out


def strips(change: Callable[..., Pixels], *arguments: Any) -> Callable[[Pixels], Pixels]:
    return by_strips(lambda canvas: change(canvas, *arguments))


CHANGES: dict[str, Change] = {
    "90 degrees": Change(np.rot90),
    "180 degrees": Change(lambda canvas: np.rot90(canvas, 2)),
    "270 degrees": Change(lambda canvas: np.rot90(canvas, 3)),
    "mirror": Change(lambda canvas: canvas[:, ::-1]),
    "shift by half a tile": Change(shifted),
    "half stride": Change(settings=("grid.stride_tiles=0.5",)),
    "0.25 um/px": Change(finer, mpp=MPP / 2),
    "1.0 um/px": Change(coarser, mpp=MPP * 2),
    "JPEG 90": Change(quality=90),
    "JPEG 70": Change(quality=70),
    **{f"brightness {f - 1:+.0%}": Change(strips(multiplied, (f, f, f))) for f in (0.9, 1.1)},
    **{f"gamma {power:g}": Change(strips(to_the_power, power)) for power in (0.8, 1.25)},
    **{
        f"{name} {f - 1:+.0%}": Change(strips(multiplied, np.where(np.arange(3) == at, f, 1)))
        for at, name in ((0, "red"), (2, "blue"))
        for f in (0.9, 0.95, 1.05, 1.1)
    },
    **{f"haematoxylin {f - 1:+.0%}": Change(strips(stained, (f, 1, 1))) for f in (0.9, 1.1)},
    **{f"eosin {f - 1:+.0%}": Change(strips(stained, (1, f, 1))) for f in (0.9, 1.1)},
    **{f"density {f - 1:+.0%}": Change(strips(stained, (f, f, f))) for f in (0.9, 1.1)},
    **{f"blur {sigma:g} um": Change(strips(blurred, sigma)) for sigma in (0.5, 1.0)},
    "density -50%": Change(strips(stained, (0.5, 0.5, 0.5))),
    "density +60%": Change(strips(stained, (1.6, 1.6, 1.6))),
    "motion blur 10 um": Change(strips(smeared, 10)),
    "pixel size x 2": Change(mpp=MPP * 2),
    "pixel size x 0.5": Change(mpp=MPP / 2),
    "JPEG 5": Change(strips(recompressed, 5)),
    "folds": Change(folded),
    "bubbles": Change(bubbled),
    "pen": Change(marked),
}


def write_slide(path: Path, canvas: Pixels, mpp: float, quality: int) -> None:
    """A tiled TIFF with a level at a quarter of the size, and at a quarter of that, until it is small."""
    levels = [np.ascontiguousarray(canvas)]
    while min(levels[-1].shape[:2]) > 2048:
        levels.append(np.asarray(Image.fromarray(levels[-1]).reduce(4)))
    with tifffile.TiffWriter(path, bigtiff=True) as tiff:
        for depth, level in enumerate(levels):
            per_cm = 1e4 / (mpp * canvas.shape[1] / level.shape[1])
            tiff.write(
                level, photometric="rgb", tile=(256, 256), compression="jpeg",
                compressionargs={"level": quality}, metadata=None, software=False,
                resolution=(per_cm, per_cm), resolutionunit="CENTIMETER", subfiletype=int(depth > 0),
            )  # fmt: skip


def row(name: str, found: dict[str, Any], before: dict[str, Any]) -> str:
    """A line of the table: points moved, what abstained, and warnings that the unchanged slide has not."""
    moved = [_moved(found[key], before[key]) for key in KEYS]
    area = found["ledger"]["mm2"]
    tissue = area["abstained"] + sum(area[f"{name}_by_class"] for name in CLASSES)
    known = {each["code"] for each in before["warnings"]}
    new = [each["code"] for each in found["warnings"] if each["code"] not in known]
    said = ", ".join(new) if found["status"] == "scored" else f"**{found['reason']}**, {', '.join(new)}"
    return f"| {name} | {' | '.join(moved)} | {100 * area['abstained'] / tissue:.0f} | {said} |"


KEYS = ("percent_viable", "percent_viable_soft", "percent_viable_by_class")


def _moved(now: float | None, before: float | None) -> str:
    return "-" if now is None or before is None else f"{now - before:+.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="default")
    parser.add_argument("--cells", type=int, default=6, help="lattice cells on a side, of 0.26 mm2 each")
    parser.add_argument("--viable", type=float, default=50.0, metavar="PERCENT")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="WORD", help="changes with these in their name"
    )
    parser.add_argument("--keep", type=Path, help="folder for slides and results, which are else deleted")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        compare(arguments, arguments.keep or Path(scratch))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    """Print a row for the unchanged montage and for every change."""
    folder.mkdir(parents=True, exist_ok=True)
    montage = folder / "montage.svs"
    make_montage(montage, arguments.cells, arguments.seed, more=["--viable", str(arguments.viable)])
    canvas = tifffile.imread(montage, key=0)
    run = partial(run_changed, canvas, folder, arguments.model)
    before = run("unchanged", Change())
    print(stamp(), flush=True)
    print(
        f"\nunchanged: {', '.join(f'{key} {before[key]}' for key in KEYS)}; "
        f"warnings {[each['code'] for each in before['warnings']]}\n"
    )
    print(
        "| change | leading | soft | hard | % abstained | warnings that it adds |\n|---|---:|---:|---:|---:|---|"
    )
    for name, change in CHANGES.items():
        if any(word in name for word in arguments.only):
            print(row(name, run(name, change), before), flush=True)


def run_changed(canvas: Pixels, folder: Path, model: str, name: str, change: Change) -> dict[str, Any]:
    slide = folder / f"{name.replace(' ', '-').replace('/', '-')}.tiff"
    write_slide(slide, change.pixels(canvas), change.mpp, change.quality)
    settings = load_settings(overrides=[f"model.name={model}", *change.settings])
    found = analyse(slide, folder / "results" / slide.stem, settings, overwrite=True).result
    slide.unlink()
    return dict(found)


if __name__ == "__main__":
    main()
