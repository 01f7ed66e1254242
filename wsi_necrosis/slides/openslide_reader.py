"""Read slides with OpenSlide: their files, properties and levels. The only module that imports OpenSlide."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

import numpy as np
import openslide
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.colour_profile import profile_name
from wsi_necrosis.slides.dicom_files import cannot_open, check_dicom, dicom_head, only_slide, series_files
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, pixel_size_warnings, settle_mpp
from wsi_necrosis.slides.levels import with_true_levels
from wsi_necrosis.slides.not_slides import cannot_read, require_not_known
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.slides.stored_levels import Levels, nominal_downsample, on_white
from wsi_necrosis.slides.window import Window

logger = logging.getLogger(__name__)

STORED_TILE = "256"  # where OpenSlide does not say how a level is tiled
MOST_TILE_PX = 2**26
DENSE = frozenset({"hamamatsu", "trestle"})  # formats without tiles that are not stored
READS = (
    f"OpenSlide {openslide.__library_version__} reads SVS, NDPI, MRXS, SCN, BIF, tiled TIFF, DICOM and others"
)


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
        self.is_sparse = self.properties["openslide.vendor"] not in DENSE

    def interpolates(self, level: int) -> bool:
        """Whether pixels of a level are mixed from neighbours."""
        return not self._scales[level].is_integer()

    def fetch(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None = None
    ) -> int | None:
        """Decode a window inside the level to RGB on white; None if a tile fails, also by an error of the system.

        Where OpenSlide interpolates, every stored tile is read from its own corner, so that its shift
        does not depend on the window. What OpenSlide leaves transparent is not stored.
        """
        width, height = self.tiles[level]
        count = window.count_tiles((width, height))
        if not self.interpolates(level):
            return count if self._read(level, window, out, absent) else None
        for part in window.by_tile((width, height)):
            left, top = part.left // width * width, part.top // height * height
            whole = Window(left, top, part.right - left, part.bottom - top)
            pixels = np.empty((whole.height, whole.width, 3), np.uint8)
            unstored = None if absent is None else np.zeros(pixels.shape[:2], bool)
            if not self._read(level, whole, pixels, unstored):
                return None
            out[part.within(window)] = pixels[part.within(whole)]
            if absent is not None and unstored is not None:
                absent[part.within(window)] = unstored[part.within(whole)]
        return count

    def _read(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None
    ) -> bool:
        position = tuple(round(start * self._scales[level]) for start in window[:2])
        try:
            pixels = self._handle.read_region(position, level, window[2:])
        except openslide.OpenSlideError as error:
            logger.debug("%s: level %d, %s: %s", self._path, level, window, error)
            return False
        out[:] = np.asarray(on_white(pixels))
        if absent is not None and pixels.getextrema()[3][0] < 255:
            absent[:] = np.asarray(pixels)[..., 3] < 128
        return True

    def profile(self) -> str | None:
        """Name of the colour profile."""
        if "openslide.icc-size" not in self.properties:
            return None
        with suppress(openslide.OpenSlideError, OSError):
            found = self._handle.color_profile
            return None if found is None else profile_name(found.tobytes())
        return "unnamed"

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


def open_openslide(
    path: Path, given: GivenMpp | None, pixel_um: Mapping[tuple[int, int], tuple[float, float]] | None = None
) -> tuple[SlideInfo, Levels]:
    """Open a file with OpenSlide.

    Parameters
    ----------
    path : Path
        An existing file.
    given : GivenMpp or None
        Plausible pixel size of level 0, instead of what the file states.
    pixel_um : mapping, optional
        Pixel size (x, y) in um that a stored level states, by its size (width, height).

    Raises
    ------
    SlideError
        OpenSlide does not know the format, or the file is damaged.
    """
    check_dicom(path)
    opened = OpenSlideLevels(path)
    try:
        _require_small_tiles(path, opened)
        generic = opened.properties["openslide.vendor"] == "generic-tiff"
        levels, left_out = with_true_levels(opened, pixel_um, of_any_writer=generic)
    except BaseException:
        opened.close()
        raise
    properties = opened.properties
    vendor = properties["openslide.vendor"]
    source = "TIFF resolution" if vendor == "generic-tiff" else "metadata"
    mpp, mpp_source = settle_mpp(path, _stated_mpp(properties), source, given)
    plane = plane_of(properties, levels.sizes[0])
    has_bounds = "openslide.bounds-x" in properties
    objective = _number(properties, "openslide.objective-power")
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
        objective=objective,
        warnings=(*pixel_size_warnings(mpp, mpp_source, objective), *left_out),
        icc_profile=opened.profile(),
    )
    return info, levels


def _require_small_tiles(path: Path, levels: OpenSlideLevels) -> None:
    width, height = max(levels.tiles, key=lambda tile: tile[0] * tile[1])
    if width * height > MOST_TILE_PX:
        raise SlideError(
            f"{path} states tiles of {width} x {height} px; at most {MOST_TILE_PX:,} px are read at once"
        )


def existing_file(path: Path) -> Path:
    """Find the file to open for a path that a user names.

    Raises
    ------
    SlideError
        Nothing is there, it is empty or may not be read, or it is a folder that is not one slide.
    """
    if path.is_dir():
        require_not_known(path)
        return only_slide(path)
    if not path.exists():
        raise SlideError(f"{path} does not exist; check the path")
    if not stat.S_ISREG(path.stat().st_mode):
        raise SlideError(f"{path} is a pipe, a socket or a device, and no file; name a slide's file")
    if not os.access(path, os.R_OK):
        raise SlideError(f"{path} may not be read by this user; check its permissions")
    if path.stat().st_size == 0:
        raise SlideError(f"{path} is empty (0 bytes); copy it again from its source")
    return path


def is_vendors_own(path: Path) -> bool:
    """Whether OpenSlide recognises a TIFF as one maker's format, whose tiles need not lie side by side."""
    return openslide.OpenSlide.detect_format(path) not in {None, "generic-tiff", "aperio"}


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
        raise cannot_read(path, READS) from None
    except openslide.OpenSlideError as error:
        if dicom_head(path) is not None:
            raise cannot_open(path, str(error)) from error
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
        beside = series_files(path)
    elif path.suffix.lower() in {".vms", ".vmu"}:  # a text file that names its pictures
        named = (path.parent / value for key, value in properties.items() if key.startswith("hamamatsu."))
        beside = [file for file in named if file.is_file()]
    else:
        beside = []
    return tuple(sorted({path, *beside}))
