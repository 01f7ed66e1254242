"""Slides that one of tiatoolbox's readers holds open: JPEG 2000 files and OME-Zarr folders."""

from __future__ import annotations

import json
import logging
import lzma
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.slides.tiatoolbox_import import alone_and_quiet, find_openjpeg, reader_class
from wsi_necrosis.slides.window import Window

logger = logging.getLogger(__name__)

JPEG_2000_HEAD = b"\0\0\0\x0cjP  \r\n\x87\n"  # the signature box of ISO/IEC 15444-1
SRGB, ENUMERATED = 16, 1  # JPEG 2000's numbers; OpenJPEG returns its YCC unconverted
BLOCK = 512  # side of what is decoded at once where tiles are larger, or not whole at a level
LEAST_BLOCK = 128  # each read goes through the file's tile headers, so that small tiles are read together
ZARR_FILES = (".zattrs", ".zgroup", "zarr.json")
NGFF_VERSION = "0.4"
RGB = ["FF0000", "00FF00", "0000FF"]
UM_PER_UNIT = {"nanometer": 1e-3, "micrometer": 1.0, "millimeter": 1e3, "centimeter": 1e4, "meter": 1e6}
# What glymur, zarr, its codecs and tiatoolbox raise on damage, or the base classes of their own errors.
DAMAGE = (
    *(
        OSError,
        EOFError,
        ValueError,
        RuntimeError,
        LookupError,
        ArithmeticError,
        TypeError,
        AttributeError,
        struct.error,
    ),
    *(SyntaxError, zlib.error, lzma.LZMAError),
)


class Picture(Protocol):
    """A slide that one of tiatoolbox's readers holds open."""

    path: Path
    sizes: tuple[tuple[int, int], ...]
    tiles: tuple[tuple[int, int], ...]
    is_rgb: bool
    is_sparse: bool

    def unstored(self, level: int) -> NDArray[np.bool_]:
        """Tiles (rows, cols) of a level that are not stored."""
        ...

    def pixels(self, level: int, window: Window) -> NDArray[np.uint8]:
        """RGB (height, width, 3) of a window inside a level; raises one of `DAMAGE`."""
        ...

    def stated(self) -> tuple[Mpp | None, float | None]:
        """Pixel size and magnification that the slide states."""
        ...

    def reopened(self) -> Self:
        """Open the same slide again."""
        ...

    def close(self) -> None:
        """Close its files."""
        ...


class Jpeg2000:
    """A JPEG 2000 image, whose file glymur opens anew for every read."""

    is_sparse = False

    def __init__(self, path: Path) -> None:
        self.path = path
        open_image = reader_class("JPEG 2000", "JP2WSIReader")
        find_openjpeg()
        with alone_and_quiet():
            self._image = open_image(path, post_proc=None).glymur_jp2
            segments = {segment.marker_id: segment for segment in self._image.codestream.segment}
        last, (size, coding) = self._image.box[-1], (segments["SIZ"], segments["COD"])
        if last.offset + last.length > path.stat().st_size:
            raise ValueError("its end is missing")
        if any((size.xosiz, size.yosiz, size.xtosiz, size.ytosiz)):
            raise ValueError("the picture does not start at the corner of a tile")
        scales = [2**level for level in range(coding.num_res + 1)]
        self.sizes = tuple((-(-size.xsiz // scale), -(-size.ysiz // scale)) for scale in scales)
        self.tiles = tuple((_block(size.xtsiz, scale), _block(size.ytsiz, scale)) for scale in scales)
        spaces = {box.colorspace for box in self._boxes("jp2h", "colr") if box.method == ENUMERATED}
        samples = set(zip(size.bitdepth, size.signed, size.xrsiz, size.yrsiz, strict=True))
        self.is_rgb = size.Csiz == 3 and samples == {(8, False, 1, 1)} and spaces <= {SRGB}

    def pixels(self, level: int, window: Window) -> NDArray[np.uint8]:
        """RGB (height, width, 3) of a window inside a level; raises one of `DAMAGE`."""
        scale, (width, height) = 2**level, self.sizes[0]
        rows = slice(window.top * scale, min((window.top + window.height) * scale, height), scale)
        cols = slice(window.left * scale, min(window.right * scale, width), scale)
        with alone_and_quiet():
            pixels: NDArray[np.uint8] = self._image[rows, cols]
        return pixels

    def unstored(self, level: int) -> NDArray[np.bool_]:
        """No tile: all are stored."""
        return np.zeros((1, 1), bool)

    def stated(self) -> tuple[Mpp | None, float | None]:
        """Pixel size and magnification; an Aperio or Omnyx description precedes the capture resolution."""
        size = None
        for box in self._boxes("jp2h", "res ", "resc"):
            size = Mpp(1e6 / box.horizontal_resolution, 1e6 / box.vertical_resolution)
        text = " ".join(str(box.xml.findtext("description", "")) for box in self._boxes("xml "))
        mpp, power = (re.search(rf"\b{key}\s*=\s*([\d.]+)", text) for key in ("MPP", "AppMag"))
        return Mpp(float(mpp[1]), float(mpp[1])) if mpp else size, float(power[1]) if power else None

    def _boxes(self, *names: str) -> list[Any]:
        """Boxes of the file at a path of four-letter names."""
        found = [self._image]
        for name in names:
            found = [box for parent in found for box in parent.box if box.box_id == name]
        return found

    def reopened(self) -> Self:
        """Open the same slide again."""
        return type(self)(self.path)

    def close(self) -> None:
        """Do nothing: no file is open between reads."""


class OmeZarr:
    """The image of an OME-Zarr folder, whose chunks are files; one that is not there is not stored."""

    is_sparse = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self._multiscales, omero = _described(path)
        open_group = reader_class("OME-Zarr", "NGFFWSIReader")
        with alone_and_quiet():
            reader = open_group(str(path), post_proc=None)
        self._store = reader._zarr_group.store  # which the reader has no method to close
        named = reader.level_arrays
        self._arrays = [named[int(level["path"])].array for level in self._multiscales["datasets"]]
        self._levels = [path / level["path"] for level in self._multiscales["datasets"]]
        self._axes = [axis["name"] for axis in self._multiscales["axes"]]
        self.sizes = tuple(self._across(array.shape) for array in self._arrays)
        self.tiles = tuple(self._across(array.chunks) for array in self._arrays)
        self._unstored: dict[int, NDArray[np.bool_]] = {}
        others = {axis: 1 for axis in self._axes if axis not in {"x", "y"}} | {"c": 3}
        lengths = dict(zip(self._axes, self._arrays[0].shape, strict=True))
        colours = [str(channel.get("color", "")).upper() for channel in omero["channels"]]
        self.is_rgb = (
            {array.dtype.name for array in self._arrays} == {"uint8"}
            and all(lengths.get(axis) == length for axis, length in others.items())
            and colours in (RGB, [""] * 3)
        )

    def pixels(self, level: int, window: Window) -> NDArray[np.uint8]:
        """RGB (height, width, 3) of a window inside a level; raises one of `DAMAGE`."""
        parts = {
            "x": slice(window.left, window.right),
            "y": slice(window.top, window.top + window.height),
            "c": slice(None),
        }
        kept = "".join(axis for axis in self._axes if axis in parts)
        pixels = self._arrays[level][tuple(parts.get(axis, 0) for axis in self._axes)]
        return np.transpose(pixels, [kept.index(axis) for axis in "yxc"])

    def unstored(self, level: int) -> NDArray[np.bool_]:
        """Chunks (rows, cols) that are not there."""
        if level not in self._unstored:
            cols, rows = (
                -(-side // tile) for side, tile in zip(self.sizes[level], self.tiles[level], strict=True)
            )
            lacks = np.zeros((rows, cols), bool)
            for row, col in np.ndindex(lacks.shape):
                at = {"x": col, "y": row}
                name = [str(at.get(axis, 0)) for axis in self._axes]
                lacks[row, col] = not any((self._levels[level] / mark.join(name)).exists() for mark in "./")
            self._unstored[level] = lacks
        return self._unstored[level]

    def stated(self) -> tuple[Mpp | None, float | None]:
        """Pixel size, if both axes have a unit and level 0 a scale; a magnification is never stated."""
        transforms = [
            *self._multiscales["datasets"][0].get("coordinateTransformations", []),
            *self._multiscales.get("coordinateTransformations", []),
        ]
        scales = [transform["scale"] for transform in transforms if transform["type"] == "scale"]
        units = [UM_PER_UNIT.get(axis.get("unit")) for axis in self._multiscales["axes"]]
        sides = []
        for at in (self._axes.index("x"), self._axes.index("y")):
            unit = units[at]
            if unit is None or not scales:
                return None, None
            sides.append(unit * float(np.prod([scale[at] for scale in scales])))
        return Mpp(*sides), None

    def _across(self, lengths: Sequence[int]) -> tuple[int, int]:
        return int(lengths[self._axes.index("x")]), int(lengths[self._axes.index("y")])

    def reopened(self) -> Self:
        """Open the same slide again."""
        return type(self)(self.path)

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def _block(tile: int, scale: int) -> int:
    """Side, in pixels of a level, of what is decoded at once: whole tiles if they are not too large."""
    side = tile // scale
    if tile % scale or side > 2 * BLOCK:
        return BLOCK
    return side * max(1, LEAST_BLOCK // side)


def _described(path: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """First of the `multiscales`, and `omero`, of an OME-Zarr 0.4."""
    try:
        attributes = json.loads((path / ".zattrs").read_text("utf-8"))
    except FileNotFoundError:
        attributes = {}
    images = attributes.get("multiscales")
    if not images or images[0].get("version") != NGFF_VERSION or "omero" not in attributes:
        raise SlideError(
            f"{path} is a zarr folder but not an image that tiatoolbox opens: OME-Zarr {NGFF_VERSION} (zarr format 2), "
            "with metadata `omero`; name the image's own folder, or convert it to OME-TIFF, as with `raw2ometiff`"
        )
    return images[0], attributes["omero"]
