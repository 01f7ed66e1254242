"""JPEG-tiled TIFF slides of every kind, made of one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

JPEG_TABLES = 347  # TIFF's tag
APERIO = (
    "Aperio Image Library v12.0.15 \r\n{width}x{height} ({tile}x{tile}) JPEG/RGB Q=85|MPP = 0.25|AppMag = 40"
)


@dataclass(frozen=True)
class JpegKind:
    """How a slide is stored."""

    tile: int = 256
    colour: str = "YCbCr"
    sampling: str = "420"
    has_tables: bool = False
    vendor: str = "generic-tiff"
    factors: tuple[int, ...] = (1, 4)


def tissue_like(height: int, width: int) -> np.ndarray:
    """Pink with purple nuclei of some 8 um at 0.25 um per pixel, and fine noise; never white."""
    rows, cols = np.mgrid[:height, :width]
    waves = np.sin(rows / 8.3) * np.sin(cols / 7.1 + rows / 90)
    nucleus = 1 / (1 + np.exp(-12 * (waves - 0.4)))[..., None]
    rgb = nucleus * (110, 70, 150) + (1 - nucleus) * (225, 160, 195)
    noise = np.random.default_rng(5).normal(0, 4, (height, width, 1))
    return np.clip(rgb + 20 * np.sin(rows / 170)[..., None] + noise, 0, 250).astype(np.uint8)


def reduced(pixels: np.ndarray, factor: int) -> np.ndarray:
    height, width = (length // factor * factor for length in pixels.shape[:2])
    return np.asarray(Image.fromarray(pixels[:height, :width]).reduce(factor)) if factor > 1 else pixels


def write_slide(path: Path, pixels: np.ndarray, kind: JpegKind) -> Path:
    with tifffile.TiffWriter(path) as tiff:
        for factor in kind.factors:
            level = reduced(pixels, factor)
            streams = [encoded(tile, kind) for tile in tiles_of(level, kind.tile)]
            write_level(tiff, streams, level.shape[:2], kind, factor)
    return path


def write_level(
    tiff: tifffile.TiffWriter, streams: list[bytes], shape: tuple[int, int], kind: JpegKind, factor: int
) -> None:
    tags = []
    if kind.has_tables:
        tables = split(streams[0])[0]
        tags = [(JPEG_TABLES, "B", len(tables), tables, True)]
        streams = [split(stream)[1] for stream in streams]
    aperio = kind.vendor == "aperio"
    text = APERIO.format(width=shape[1], height=shape[0], tile=kind.tile) if aperio else None
    tiff.write(
        iter(streams),
        shape=(*shape, 3),
        dtype=np.uint8,
        tile=(kind.tile, kind.tile),
        compression="jpeg",
        compressionargs={"outcolorspace": kind.colour},  # else tifffile names RGB YCbCr
        photometric=kind.colour.lower(),
        subsampling={"420": (2, 2), "422": (2, 1), "444": (1, 1)}[kind.sampling],
        subfiletype=int(factor > 1 and not aperio),
        description=text,
        resolution=(4e4 / factor, 4e4 / factor),
        resolutionunit="CENTIMETER",
        metadata=None,
        software=False,
        extratags=tags,
    )


def tiles_of(pixels: np.ndarray, side: int) -> Iterator[np.ndarray]:
    """Tiles row by row; what lies beyond the picture is black, the worst that a writer can leave there."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side), (0, 0)))
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield np.ascontiguousarray(padded[top : top + side, left : left + side])


def encoded(tile: np.ndarray, kind: JpegKind) -> bytes:
    stream: bytes = imagecodecs.jpeg8_encode(
        tile, level=85, colorspace="RGB", outcolorspace=kind.colour, subsampling=kind.sampling
    )
    return stream


def split(stream: bytes) -> tuple[bytes, bytes]:
    """The tables of a JPEG stream, and the stream without them and without what names its colours."""
    at, tables, rest = 2, b"\xff\xd8", b"\xff\xd8"
    while stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] in {0xDB, 0xC4}:
            tables += stream[at:end]
        elif stream[at + 1] < 0xE0:
            rest += stream[at:end]
        at = end
    return tables + b"\xff\xd9", rest + stream[at:]


def replace_tile(path: Path, tile: int, change: Callable[[bytes], bytes]) -> None:
    """Overwrite a stored tile of level 0 with what `change` makes of its bytes, of the same length."""
    with tifffile.TiffFile(path) as tiff:
        offset, length = tiff.pages[0].dataoffsets[tile], tiff.pages[0].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + length] = change(bytes(data[offset : offset + length]))
    path.write_bytes(data)


def set_tile(path: Path, tag: str, tile: int, value: int) -> None:
    """Change one number in a tag that has one for every tile of level 0."""
    with tifffile.TiffFile(path) as tiff:
        found = tiff.pages[0].tags[tag]
        at, size = found.valueoffset, found.valuebytecount // found.count
    data = bytearray(path.read_bytes())
    data[at + tile * size : at + (tile + 1) * size] = value.to_bytes(size, "little")
    path.write_bytes(data)
