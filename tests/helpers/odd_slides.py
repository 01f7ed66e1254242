"""Small slides that state something odd, made of one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from tests.helpers.jpeg_slides import tissue_like

JPEG = {"photometric": "rgb", "tile": (64, 64), "compression": "jpeg", "metadata": None, "software": False}
RAW = JPEG | {"compression": "deflate"}
CENTIMETRE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 um a pixel
OME = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}


def textured(height: int, width: int) -> np.ndarray:
    """Tissue whose every place looks different, for shifts to be seen."""
    coarse = np.random.default_rng(2).integers(60, 240, (height // 24 + 2, width // 24 + 2, 3), np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((large.astype(float) + tissue_like(height, width)) / 2, np.uint8)


def smaller(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Means of squares; the last row and column are of what there is."""
    height, width = pixels.shape[:2]
    filled = np.pad(pixels, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge")
    return np.asarray(Image.fromarray(filled).reduce(factor)) if factor > 1 else pixels


def write_levels(
    path: Path, levels: Sequence[np.ndarray], mpp: Sequence[float] | None = None, **options: object
) -> Path:
    """A tiled TIFF of these pages; by default each states the pixel size that its width means."""
    with tifffile.TiffWriter(path) as tiff:
        for at, level in enumerate(levels):
            um = mpp[at] if mpp else 0.5 * levels[0].shape[1] / level.shape[1]
            tiff.write(
                level, **(RAW | options), subfiletype=int(at > 0), resolution=(1e4 / um, 1e4 / um),
                resolutionunit="CENTIMETER",
            )  # fmt: skip
    return path


def padded(pixels: np.ndarray, tile: int) -> np.ndarray:
    """Rounded up to whole tiles, with white."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % tile), (0, -width % tile), (0, 0)), constant_values=255)


def set_tag(path: Path, name: str, value: object, page: int = 0) -> Path:
    """Overwrite a tag of a page."""
    with tifffile.TiffFile(path, mode="r+") as tiff:
        tiff.pages[page].tags[name].overwrite(value)
    return path
