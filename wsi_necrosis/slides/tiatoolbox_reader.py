"""JPEG 2000 files and OME-Zarr folders, which neither OpenSlide nor tifffile opens, read with tiatoolbox.

tiatoolbox's readers open the slide. Pixels are taken level by level from the arrays in these readers, since the
regions that the readers return are resampled and padded. JPEG 2000 is decoded by OpenJPEG; its levels are those of
the wavelet transform, whose pixels lie up to half a level pixel from means of squares. Of OME-Zarr (OME-NGFF)
tiatoolbox 2.1 reads version 0.4, with metadata `omero`, and arrays whose names are numbers.
"""

from __future__ import annotations

import json
import logging
import lzma
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo, pixel_size_warnings, settle_mpp
from wsi_necrosis.slides.levels import with_true_levels
from wsi_necrosis.slides.pyramid import Levels, plain_downsample
from wsi_necrosis.slides.source_files import raise_if_of_the_system
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


class _Picture(Protocol):
    """A slide that one of tiatoolbox's readers holds open."""

    path: Path
    sizes: tuple[tuple[int, int], ...]
    tiles: tuple[tuple[int, int], ...]
    is_rgb: bool
    is_sparse: bool

    def missing(self, level: int, window: Window) -> list[Window]:
        """Parts of a window that are not stored."""
        ...

    def pixels(self, level: int, window: Window) -> NDArray[np.uint8]:
        """RGB (height, width, 3) of a window inside a level; raises one of `DAMAGE`."""
        ...

    def stated(self) -> tuple[Mpp | None, float | None]:
        """Pixel size and magnification that the slide states."""
        ...

    def reopened(self) -> Self: ...

    def close(self) -> None: ...


class TiatoolboxLevels:
    """Stored levels of a slide that tiatoolbox opens; may be shared by threads."""

    def __init__(self, picture: _Picture) -> None:
        self._picture = picture
        self.sizes, self.tiles = picture.sizes, picture.tiles
        self.downsamples = tuple(plain_downsample(self.sizes[0], size) for size in self.sizes)
        self.stored, self.is_sparse = len(self.sizes), picture.is_sparse

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window inside the level to RGB, on white where it is not stored; None if a tile is damaged."""
        try:
            out[:] = self._picture.pixels(level, window)
            for part in self._picture.missing(level, window) if self.is_sparse else ():
                out[part.within(window)] = 255
                if absent is not None:
                    absent[part.within(window)] = True
        except DAMAGE as error:
            raise_if_of_the_system(error, self._picture.path)
            logger.debug("%s: level %d, %s: %s", self._picture.path, level, window, error)
            return None
        return window.count_tiles(self.tiles[level])

    def reopened(self) -> Self:
        """Open the same slide again."""
        try:
            return type(self)(self._picture.reopened())
        except DAMAGE as error:
            raise_if_of_the_system(error, self._picture.path)
            raise SlideError(f"{self._picture.path} cannot be opened again ({error})") from error

    def close(self) -> None:
        """Close the file."""
        self._picture.close()


class _Jpeg2000:
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
        scale, (width, height) = 2**level, self.sizes[0]
        rows = slice(window.top * scale, min((window.top + window.height) * scale, height), scale)
        cols = slice(window.left * scale, min(window.right * scale, width), scale)
        with alone_and_quiet():
            pixels: NDArray[np.uint8] = self._image[rows, cols]
        return pixels

    def missing(self, level: int, window: Window) -> list[Window]:
        return []

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
        return type(self)(self.path)

    def close(self) -> None:
        """Do nothing: no file is open between reads."""


class _OmeZarr:
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
        others = {axis: 1 for axis in self._axes if axis not in {"x", "y"}} | {"c": 3}
        lengths = dict(zip(self._axes, self._arrays[0].shape, strict=True))
        colours = [str(channel.get("color", "")).upper() for channel in omero["channels"]]
        self.is_rgb = (
            {array.dtype.name for array in self._arrays} == {"uint8"}
            and all(lengths.get(axis) == length for axis, length in others.items())
            and colours in (RGB, [""] * 3)
        )

    def pixels(self, level: int, window: Window) -> NDArray[np.uint8]:
        parts = {
            "x": slice(window.left, window.right),
            "y": slice(window.top, window.top + window.height),
            "c": slice(None),
        }
        kept = "".join(axis for axis in self._axes if axis in parts)
        pixels = self._arrays[level][tuple(parts.get(axis, 0) for axis in self._axes)]
        return np.transpose(pixels, [kept.index(axis) for axis in "yxc"])

    def missing(self, level: int, window: Window) -> list[Window]:
        chunks, (width, height) = (
            dict(zip(self._axes, self._arrays[level].chunks, strict=True)),
            self.tiles[level],
        )
        found = []
        for part in window.by_tile((width, height)):
            at = {"x": part.left // width, "y": part.top // height}
            name = [str(at.get(axis, 0)) for axis in chunks]
            if not any((self._levels[level] / mark.join(name)).exists() for mark in "./"):
                found.append(part)
        return found

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
        return type(self)(self.path)

    def close(self) -> None:
        self._store.close()


def is_jpeg_2000(path: Path) -> bool:
    """Tell whether a file starts as JPEG 2000 files (JP2) do."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(JPEG_2000_HEAD)) == JPEG_2000_HEAD
    except OSError as error:
        logger.debug("%s cannot be read: %s", path, error)
        return False


def is_zarr(path: Path) -> bool:
    """Tell whether a path is a folder with the metadata file of a zarr array or group."""
    return any((path / name).is_file() for name in ZARR_FILES)


def open_jpeg_2000(path: Path, given: Mpp | None) -> tuple[SlideInfo, Levels]:
    """Open a JPEG 2000 file (JP2) with tiatoolbox's reader.

    Parameters
    ----------
    path : Path
        A file for which `is_jpeg_2000` holds.
    given : Mpp or None
        Plausible pixel size of level 0, instead of what the file states.

    Raises
    ------
    SlideError
        The file is damaged, or is not 8-bit RGB.
    MissingExtraError
        tiatoolbox is not installed or cannot be imported, or there is no OpenJPEG.
    """
    return _opened(path, "JPEG 2000", _Jpeg2000, given)


def open_ome_zarr(path: Path, given: Mpp | None) -> tuple[SlideInfo, Levels]:
    """Open an OME-Zarr folder (OME-NGFF) with tiatoolbox's reader.

    Parameters
    ----------
    path : Path
        A folder for which `is_zarr` holds.
    given : Mpp or None
        Plausible pixel size of level 0, instead of what the metadata state.

    Raises
    ------
    SlideError
        The folder is damaged, no image that tiatoolbox opens, or not 8-bit RGB.
    MissingExtraError
        tiatoolbox is not installed or cannot be imported.
    """
    return _opened(path, "OME-Zarr", _OmeZarr, given)


def _opened(
    path: Path, kind: str, picture_class: Callable[[Path], _Picture], given: Mpp | None
) -> tuple[SlideInfo, Levels]:
    try:
        picture = picture_class(path)
        stated, objective = picture.stated()
    except DAMAGE as error:
        raise_if_of_the_system(error, path)
        reason = str(error) or type(error).__name__
        raise SlideError(f"{path} is {kind} that tiatoolbox cannot open ({reason})") from error
    if not picture.is_rgb:
        picture.close()
        raise SlideError(f"{path} is {kind} but not 8-bit RGB; only that is read")
    mpp, source = settle_mpp(path, stated, "metadata", given)
    levels, left_out = with_true_levels(TiatoolboxLevels(picture))
    info = SlideInfo(
        path=path,
        files=_files(path),
        vendor=kind.lower().replace(" ", "-"),
        reader="tiatoolbox",
        size_l0=levels.sizes[0],
        plane=Box(0, 0, *levels.sizes[0]),
        bounds_l0=(0, 0),
        downsamples=levels.downsamples,
        levels=levels.sizes,
        mpp=mpp,
        mpp_source=source,
        objective=objective,
        warnings=(*pixel_size_warnings(mpp, source, objective), *left_out),
    )
    return info, levels


def _files(path: Path) -> tuple[Path, ...]:
    return tuple(sorted(file for file in path.rglob("*") if file.is_file())) if path.is_dir() else (path,)


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
