"""A folder of slides of every quality, as a batch meets them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from tests.helpers.jpeg_slides import replace_tile
from tests.helpers.phantom_model import phantom_network, phantom_spec
from wsi_necrosis.model.checkpoint import save_checkpoint
from wsi_necrosis.model.ood import OodDetector
from wsi_necrosis.model.ood_features import describe
from wsi_necrosis.slides.phantom import phantom_tiles, write_phantom

GOOD = ("CASE1/slide.tiff", "CASE2/slide.tiff", "twin/a.svs", "twin/a.tiff", "Präparat 7 ä.tiff", "link.tiff")
DAMAGED_TILES = "corrupt tiles.tiff"
NOT_EVALUABLE = {"blank.tiff": "no_tissue", "fluorescence.tiff": "out_of_domain"}
FAILURES = {  # stage, and part of the message
    "truncated.tiff": ("open", "bytes where its directory names"),
    "empty.svs": ("open", "is empty (0 bytes)"),
    "text.svs": ("open", "not a whole-slide image"),
    "no mpp.tiff": ("plan", "carries no pixel size"),
}
SKIPPED = {"pipe.svs": "it is a pipe", "a_thumbnail.tif": "thumbnail"}
CENTIMETRE = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}  # 0.5 um a pixel


def write_bad_slides(folder: Path, elsewhere: Path) -> None:
    """Write the slides that the names of this module list; what `link.tiff` leads to lies elsewhere."""
    write_phantom(elsewhere / "good.tiff", np.random.default_rng(5), side_mm=0.8)
    good = (elsewhere / "good.tiff").read_bytes()
    for at, name in enumerate((*GOOD[:-1], DAMAGED_TILES), 1):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(
            good + bytes(at)
        )  # bytes behind a TIFF mean nothing, and make another slide of it
    (folder / GOOD[-1]).symlink_to(elsewhere / "good.tiff")
    with tifffile.TiffFile(elsewhere / "good.tiff") as tiff:
        stored = len(tiff.pages[0].dataoffsets)
    for tile in (stored // 2 - 2, stored // 2 + 1):
        replace_tile(folder / DAMAGED_TILES, tile, lambda data: bytes(len(data)))
    (folder / "truncated.tiff").write_bytes(good[: len(good) // 2])
    (folder / "empty.svs").write_bytes(b"")
    (folder / "text.svs").write_text("a slide, in words", encoding="utf-8")
    for name in ("._good.tiff", ".DS_Store", "a_thumbnail.tif", "notes.txt"):
        (folder / name).write_bytes(b"x")
    os.mkfifo(folder / "pipe.svs")
    glass = np.full((1024, 1024, 3), 243, np.uint8)
    _write(folder / "blank.tiff", glass, CENTIMETRE)
    _write(folder / "no mpp.tiff", glass, {})
    _write(folder / "fluorescence.tiff", _fluorescence(), CENTIMETRE)


def save_model_of_phantoms(folder: Path) -> None:
    """Write the phantom's model with a detector that knows the phantom's materials, and no others."""
    rng = np.random.default_rng(3)
    known = np.concatenate(
        [phantom_tiles(name, 60, 32, rng) for name in ("viable", "non_viable", "non_tumour", "glass")]
    )
    spec = replace(phantom_spec(), ood=OodDetector.fit(describe(known), limit=4.0, shrinkage=0.2))
    save_checkpoint(folder, spec, phantom_network(spec).tensors())


def _fluorescence() -> np.ndarray:
    """Bright green nuclei on black."""
    rows, cols = np.mgrid[:1024, :1024]
    glow = np.clip(np.sin(rows / 9) * np.sin(cols / 7), 0, 1) * 220
    noise = np.random.default_rng(0).uniform(0, 12, (1024, 1024))
    return np.stack([noise, glow + noise, noise], axis=-1).astype(np.uint8)


def _write(path: Path, pixels: np.ndarray, facts: dict[str, object]) -> None:
    options = {"photometric": "rgb", "tile": (256, 256), "compression": "jpeg", "metadata": None}
    tifffile.imwrite(path, pixels, **options, **facts)
