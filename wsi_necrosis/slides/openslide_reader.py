"""Read slides with OpenSlide: their files, properties and levels. The only module that imports OpenSlide."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo, settle_mpp
from wsi_necrosis.slides.pyramid import nominal_downsample, on_white
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.slides.window import Window

logger = logging.getLogger(__name__)

STORED_TILE = "256"  # where OpenSlide does not say how a level is tiled
DICOM_MAGIC_AT = 128
DICOM_HEAD = 2**18  # bytes that hold a DICOM file's identifiers
SERIES_UID = b"\x20\x00\x0e\x00UI"  # DICOM element (0020,000E), explicit little endian


class OpenSlideLevels:
    """Stored levels that OpenSlide decodes.

    OpenSlide takes positions in level-0 pixels, and interpolates where these fall between the pixels
    of a level. So the position nearest to a whole level pixel is asked for. That is exact where
    OpenSlide's downsample is whole, as it always is at level 0. Elsewhere (sides of 4443 and 2221 px
    make 2.0005) the picture is shifted by at most half a level-0 pixel, each stored tile by itself, and
    a damaged tile may take its neighbours with it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = _open(path)
        self._scales: tuple[float, ...] = self._handle.level_downsamples
        self.properties: Mapping[str, str] = dict(self._handle.properties)
        self.sizes: tuple[tuple[int, int], ...] = self._handle.level_dimensions
        self.downsamples = tuple(
            nominal_downsample(self.sizes[0], size, scale)
            for size, scale in zip(self.sizes, self._scales, strict=True)
        )
        self.tiles = tuple(self._tile(level) for level in range(len(self.sizes)))
        self.stored = len(self.sizes)

    def interpolates(self, level: int) -> bool:
        """Whether pixels of a level are mixed from neighbours."""
        return not self._scales[level].is_integer()

    def fetch(self, level: int, window: Window, out: NDArray[np.uint8]) -> int | None:
        """Decode a window inside the level to RGB on white; None if a tile fails, also by an error of the system.

        Where OpenSlide interpolates, every stored tile is read from its own corner, so that its shift
        does not depend on the window.
        """
        width, height = self.tiles[level]
        count = window.count_tiles((width, height))
        if not self.interpolates(level):
            return count if self._read(level, window, out) else None
        for part in window.by_tile((width, height)):
            left, top = part.left // width * width, part.top // height * height
            whole = Window(left, top, part.right - left, part.bottom - top)
            pixels = np.empty((whole.height, whole.width, 3), np.uint8)
            if not self._read(level, whole, pixels):
                return None
            out[part.within(window)] = pixels[part.within(whole)]
        return count

    def _read(self, level: int, window: Window, out: NDArray[np.uint8]) -> bool:
        position = tuple(round(start * self._scales[level]) for start in window[:2])
        try:
            pixels = self._handle.read_region(position, level, window[2:])
        except openslide.OpenSlideError as error:
            logger.debug("%s: level %d, %s: %s", self._path, level, window, error)
            return False
        out[:] = np.asarray(on_white(pixels))
        return True

    def reopened(self) -> Self:
        """Open the same file again; a handle that failed once fails for ever."""
        return type(self)(self._path)

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def _tile(self, level: int) -> tuple[int, int]:
        width, height = (
            int(self.properties.get(f"openslide.level[{level}].tile-{side}", STORED_TILE))
            for side in ("width", "height")
        )
        return width, height


def open_openslide(path: Path, given: Mpp | None) -> tuple[SlideInfo, OpenSlideLevels]:
    """Open a file with OpenSlide.

    Parameters
    ----------
    path : Path
        An existing file.
    given : Mpp or None
        Plausible pixel size of level 0, instead of what the file states.

    Raises
    ------
    SlideError
        OpenSlide does not know the format, or the file is damaged.
    """
    levels = OpenSlideLevels(path)
    properties = levels.properties
    vendor = properties["openslide.vendor"]
    source = "TIFF resolution" if vendor == "generic-tiff" else "metadata"
    mpp, mpp_source = settle_mpp(path, _stated_mpp(properties), source, given)
    plane = plane_of(properties, levels.sizes[0])
    has_bounds = "openslide.bounds-x" in properties
    info = SlideInfo(
        path=path,
        files=files_of(path, properties),
        vendor=vendor,
        reader="openslide",
        size_l0=levels.sizes[0],
        plane=plane,
        bounds_l0=(int(plane.x_l0), int(plane.y_l0)) if has_bounds else (0, 0),
        downsamples=levels.downsamples,
        levels=levels.sizes,
        mpp=mpp,
        mpp_source=mpp_source,
        objective=_number(properties, "openslide.objective-power"),
    )
    return info, levels


def existing_file(path: Path) -> Path:
    """Find the file to open for a path that a user names.

    Raises
    ------
    SlideError
        Nothing is there, it is empty or may not be read, or it is a folder that is not one slide.
    """
    if path.is_dir():
        return _only_dicom(path)
    if not path.exists():
        raise SlideError(f"{path} does not exist; check the path")
    if not os.access(path, os.R_OK):
        raise SlideError(f"{path} may not be read by this user; check its permissions")
    if path.stat().st_size == 0:
        raise SlideError(f"{path} is empty (0 bytes); copy it again from its source")
    return path


def plane_of(properties: Mapping[str, str], size_l0: tuple[int, int]) -> Box:
    """Give the part of level 0 that was scanned: OpenSlide's bounds where stated, else all of it."""
    whole = Box(0, 0, *size_l0)
    values = [_number(properties, f"openslide.bounds-{key}") for key in ("x", "y", "width", "height")]
    x, y, width, height = values
    if x is None or y is None or width is None or height is None:
        return whole
    return Box(x, y, width, height).intersection(whole) or whole


def _open(path: Path) -> openslide.OpenSlide:
    with suppress(openslide.OpenSlideError):
        return openslide.OpenSlide(path)
    SourceFiles.of([path]).require_readable()  # OpenSlide does not say whether the system failed
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError:
        raise SlideError(
            f"{path} is not a whole-slide image of a known format; OpenSlide "
            f"{openslide.__library_version__} reads SVS, NDPI, MRXS, SCN, BIF, tiled TIFF, DICOM and others"
        ) from None
    except openslide.OpenSlideError as error:
        raise SlideError(f"{path} cannot be opened ({error}); it is damaged or of an unusual kind") from error


def _number(properties: Mapping[str, str], key: str) -> float | None:
    try:
        return float(properties[key])
    except (KeyError, ValueError):  # absent, or free text
        return None


def _stated_mpp(properties: Mapping[str, str]) -> Mpp | None:
    x, y = (_number(properties, f"openslide.mpp-{axis}") for axis in "xy")
    return None if x is None or y is None else Mpp(x, y)


def files_of(path: Path, properties: Mapping[str, str]) -> tuple[Path, ...]:
    """Find every file of a slide, whichever of them was named."""
    vendor = properties["openslide.vendor"]
    if vendor == "mirax":
        beside = [file for file in path.with_suffix("").rglob("*") if file.is_file()]
    elif vendor == "dicom":
        beside = _dicom_series(path)
    elif path.suffix.lower() in {".vms", ".vmu"}:  # a text file that names its pictures
        named = (path.parent / value for key, value in properties.items() if key.startswith("hamamatsu."))
        beside = [file for file in named if file.is_file()]
    else:
        beside = []
    return tuple(sorted({path, *beside}))


def _dicom_series(path: Path) -> list[Path]:
    """Files beside `path` that belong to its DICOM series."""
    series = _series_uid(path)
    return [file for file in path.parent.iterdir() if file.is_file() and _series_uid(file) == series]


def _series_uid(path: Path) -> bytes | None:
    """SeriesInstanceUID of a DICOM file; None for other files."""
    with path.open("rb") as stream:
        head = stream.read(DICOM_HEAD)
    at = head.find(SERIES_UID)
    if head[DICOM_MAGIC_AT : DICOM_MAGIC_AT + 4] != b"DICM" or at < 0:
        return None
    start = at + len(SERIES_UID) + 2
    return head[start : start + int.from_bytes(head[start - 2 : start], "little")].rstrip(b"\0 ")


def _only_dicom(folder: Path) -> Path:
    """First file of the one DICOM series in a folder that holds nothing else."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name != "DICOMDIR")
    series = {_series_uid(file) for file in files}
    if series - {None} == set():
        raise SlideError(f"{folder} is a folder without a DICOM slide; name a slide file in it")
    if len(series) > 1:
        raise SlideError(f"{folder} is a folder that holds more than one DICOM slide; name one file of it")
    return files[0]
