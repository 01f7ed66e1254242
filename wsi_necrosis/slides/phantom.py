"""Synthetic slides of painted tissue, with the true class of every pixel.

Each material has one mean colour and a texture of its own whose mean is zero, so the mean colour of a
tile is the mixture of its materials. The four means (glass included) are affinely independent: a
model may read the share of each material from a mean colour.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, SupportsFloat

import numpy as np
import tifffile
from numpy.typing import NDArray
from scipy import ndimage

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.files import atomic_write, write_text
from wsi_necrosis.geometry import Mpp

Stream = np.random.Generator | np.random.RandomState  # of random numbers
GLASS = (243, 243, 243)
MATERIALS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"non_tumour": (233, 183, 163), "non_viable": (236, 203, 231), "viable": (133, 113, 183)}
)
TEXTURE_UM = (6.0, 10.0, 3.0)  # grain of each material: fibres, ghosts of cells, dense nuclei
TEXTURE_GREY = (5.0, 4.0, 14.0)  # standard deviation in grey levels; three of them never clip a channel
PATCH_PX = 1024
LEVEL_FACTOR = 4
SMALLEST_LEVEL_PX = 1024
STORED_TILE_PX = 256
FOCUS_UM = 28.0  # diameter of the viable focus: smaller than a tile of the phantom's model (32 um)


@dataclass(frozen=True)
class Shape:
    """A blob: radius(angle) = radius_um x (1 + sum of two waves), centre in um from the slide's corner."""

    name: str
    material: str
    x_um: float
    y_um: float
    radius_um: float
    waves: tuple[float, ...]
    phases: tuple[float, ...]

    def inside(self, x_um: NDArray[np.floating[Any]], y_um: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Whether points lie in it; broadcasts."""
        across, down = x_um - self.x_um, y_um - self.y_um
        angle = np.arctan2(down, across)
        wavy = sum(
            wave * np.cos(turns * angle + phase)
            for turns, wave, phase in zip((2, 3), self.waves, self.phases, strict=True)
        )
        return np.asarray(np.hypot(across, down) < self.radius_um * (1 + wavy))


@dataclass(frozen=True)
class PhantomTruth:
    """What was painted.

    Attributes
    ----------
    mpp : Mpp
        Size of a level-0 pixel.
    size_l0 : tuple of int
        Width and height.
    px : dict
        Level-0 pixels of each class.
    shapes : tuple of Shape
        In the order in which they were painted, later ones over earlier ones; `focus` is smaller than a tile.
    """

    mpp: Mpp
    size_l0: tuple[int, int]
    px: Mapping[str, int]
    shapes: tuple[Shape, ...]

    @property
    def area_mm2(self) -> dict[str, float]:
        """Area of each class in mm2."""
        return {name: count * self.mpp.px_mm2 for name, count in self.px.items()}

    @property
    def percent_viable(self) -> float:
        """Viable over viable plus non-viable area, in percent."""
        return 100 * self.px["viable"] / (self.px["viable"] + self.px["non_viable"])

    def shape(self, name: str) -> Shape:
        """The shape of that name."""
        return next(shape for shape in self.shapes if shape.name == name)


def write_phantom(
    path: str | Path,
    rng: np.random.Generator | None = None,
    *,
    side_mm: float = 4.0,
    mpp: SupportsFloat | Mpp | None = None,
) -> PhantomTruth:
    """Write a pyramidal TIFF of painted tissue, and its truth beside it as `<stem>.truth.json`.

    A piece of non-viable tumour with a viable part and a small viable focus inside, and one piece of
    each class on glass; shapes and places vary with `rng` and follow no grid.

    Parameters
    ----------
    path : str or Path
        The TIFF to write.
    rng : numpy.random.Generator, optional
        Decides shapes and texture; by default one of seed 0.
    side_mm : float
        Side of the square slide; all shapes but the focus scale with it.
    mpp : float or Mpp, optional
        Size of a level-0 pixel in um, by default 0.5.

    Returns
    -------
    PhantomTruth

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> truth = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> truth.size_l0
    (1000, 1000)
    """
    path, rng = Path(path), rng or np.random.default_rng(0)
    mpp = Mpp.of(mpp) or Mpp(0.5, 0.5)
    size = round(1000 * side_mm / mpp.x), round(1000 * side_mm / mpp.y)
    shapes = _shapes(rng, side_mm)
    label = _paint(shapes, size, mpp)
    counts = np.bincount(label.ravel(), minlength=len(CLASSES) + 1)[1:]
    truth = PhantomTruth(mpp, size, dict(zip(CLASSES, counts.tolist(), strict=True)), shapes)
    _write_pyramid(path, _colour(label, mpp, rng), mpp)
    facts = asdict(truth) | {"area_mm2": truth.area_mm2, "percent_viable": truth.percent_viable}
    write_text(path.with_suffix(".truth.json"), json.dumps(facts, indent=1) + "\n")
    return truth


def phantom_tiles(material: str, n: int, tile_px: int, rng: Stream, mpp_um: float = 1.0) -> NDArray[np.uint8]:
    """Tiles (n, tile_px, tile_px, 3) of one material or `glass`, as a slide at half the pixel size gives them."""
    side = 2 * tile_px
    label = np.full((n * side, side), (*CLASSES, "glass").index(material) + 1, np.uint8) % (len(CLASSES) + 1)
    fine = _colour(label, Mpp(mpp_um / 2, mpp_um / 2), rng)
    mean = fine.reshape(n, tile_px, 2, tile_px, 2, 3).mean(axis=(2, 4))
    return np.asarray(np.round(mean), np.uint8)


def _shapes(rng: np.random.Generator, side_mm: float) -> tuple[Shape, ...]:
    """The phantom's pieces; places and radii in mm on a slide of 4 mm, then scaled."""
    scale = 1000 * side_mm / 4
    pieces = (
        ("necrosis", NON_VIABLE, 1.35, 1.45, 0.95),
        ("core", VIABLE, 1.15, 1.35, 0.48),
        ("viable", VIABLE, 3.2, 1.0, 0.52),
        ("stroma", NON_TUMOUR, 2.8, 2.95, 0.7),
        ("island", NON_VIABLE, 1.0, 3.3, 0.42),
    )
    shapes = [
        _blob(rng, name, material, (scale * x, scale * y), scale * radius)
        for name, material, x, y, radius in pieces
    ]
    host = shapes[0]
    focus = (host.x_um + 0.66 * host.radius_um, host.y_um + 0.3 * host.radius_um)
    return (*shapes, _blob(rng, "focus", VIABLE, focus, FOCUS_UM / 2))


def _blob(
    rng: np.random.Generator, name: str, material: int, centre: tuple[float, float], radius: float
) -> Shape:
    x, y = np.array(centre) + rng.uniform(-0.05, 0.05, 2) * radius
    waves, phases = rng.uniform(0.02, 0.05, 2), rng.uniform(0, 2 * np.pi, 2)
    return Shape(
        name, CLASSES[material], float(x), float(y), radius, tuple(waves.tolist()), tuple(phases.tolist())
    )


def _paint(shapes: tuple[Shape, ...], size: tuple[int, int], mpp: Mpp) -> NDArray[np.uint8]:
    """Class of every level-0 pixel by its centre: 0 glass, 1 + class."""
    width, height = size
    label = np.zeros((height, width), np.uint8)
    for shape in shapes:
        reach = shape.radius_um * (1 + sum(shape.waves))
        left, right = ((shape.x_um + sign * reach) / mpp.x for sign in (-1, 1))
        top, bottom = ((shape.y_um + sign * reach) / mpp.y for sign in (-1, 1))
        rows = np.arange(max(0, int(top)), min(height, int(bottom) + 1))
        cols = np.arange(max(0, int(left)), min(width, int(right) + 1))
        inside = shape.inside((cols[None] + 0.5) * mpp.x, (rows[:, None] + 0.5) * mpp.y)
        label[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1][inside] = CLASSES.index(shape.material) + 1
    return label


def _colour(label: NDArray[np.uint8], mpp: Mpp, rng: Stream) -> NDArray[np.uint8]:
    """RGB of a label raster: each class its mean colour and a repeated patch of texture."""
    rgb = np.empty((*label.shape, 3), np.uint8)
    means = np.array([GLASS, *(MATERIALS[name] for name in CLASSES)], np.int16)
    patches = np.stack([_glass_patch(rng), *(_patch(rng, at, mpp) for at in range(len(CLASSES)))])
    for top in range(0, label.shape[0], PATCH_PX):
        for left in range(0, label.shape[1], PATCH_PX):
            part = label[top : top + PATCH_PX, left : left + PATCH_PX]
            rows, cols = np.ix_(*map(np.arange, part.shape))
            rgb[top : top + PATCH_PX, left : left + PATCH_PX] = (
                means[part] + patches[part, rows, cols][..., None]
            )
    return rgb


def _patch(rng: Stream, material: int, mpp: Mpp) -> NDArray[np.int16]:
    """Texture (PATCH_PX, PATCH_PX) in grey levels that continues across its own edges; its mean is 0."""
    grain = TEXTURE_UM[material] / 2 / np.array([mpp.y, mpp.x])
    noise = ndimage.gaussian_filter(rng.standard_normal((PATCH_PX, PATCH_PX)), grain, mode="wrap")
    noise = (noise - noise.mean()) / noise.std()
    grey = np.round(TEXTURE_GREY[material] * np.clip(noise, -3, 3))
    return np.asarray(grey - np.round(grey.mean()), np.int16)


def _glass_patch(rng: Stream) -> NDArray[np.int16]:
    return np.round(np.clip(rng.standard_normal((PATCH_PX, PATCH_PX)), -3, 3)).astype(np.int16)


def _write_pyramid(path: Path, rgb: NDArray[np.uint8], mpp: Mpp) -> None:
    with atomic_write(path) as partial, tifffile.TiffWriter(partial, bigtiff=True) as tiff:
        shrink = 1
        while True:
            tiff.write(
                rgb,
                photometric="rgb",
                tile=(STORED_TILE_PX, STORED_TILE_PX),
                compression="jpeg",
                compressionargs={"level": 90},
                subfiletype=0 if shrink == 1 else 1,
                resolution=(1e4 / mpp.x / shrink, 1e4 / mpp.y / shrink),
                resolutionunit="CENTIMETER",
                metadata=None,
                software=False,
            )
            if min(rgb.shape[:2]) < LEVEL_FACTOR * SMALLEST_LEVEL_PX:
                return
            rgb, shrink = _shrunk(rgb), shrink * LEVEL_FACTOR


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = (length // LEVEL_FACTOR for length in rgb.shape[:2])
    out = np.empty((height, width, 3), np.uint8)
    for row in range(0, height, STORED_TILE_PX):
        band = rgb[row * LEVEL_FACTOR : (row + STORED_TILE_PX) * LEVEL_FACTOR, : width * LEVEL_FACTOR]
        rows = min(len(band) // LEVEL_FACTOR, height - row)
        parts = band[: rows * LEVEL_FACTOR].reshape(rows, LEVEL_FACTOR, width, LEVEL_FACTOR, 3)
        out[row : row + rows] = np.round(parts.mean(axis=(1, 3), dtype=np.float32))
    return out
