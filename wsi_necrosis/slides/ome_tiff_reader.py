"""OME-TIFF slides, whose pixels tifffile decodes."""

from __future__ import annotations

import logging
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo, settle_mpp
from wsi_necrosis.slides.pyramid import nominal_downsample, on_white
from wsi_necrosis.slides.source_files import raise_if_of_the_system
from wsi_necrosis.slides.window import Window

logger = logging.getLogger(__name__)

SUFFIXES = frozenset({".tif", ".tiff", ".btf", ".tf2", ".tf8"})
UM_PER_UNIT = {
    "µm": 1.0,
    "\N{GREEK SMALL LETTER MU}m": 1.0,
    "um": 1.0,
    "nm": 1e-3,
    "mm": 1e3,
    "cm": 1e4,
    "m": 1e6,
}
# What tifffile (its TiffFileError is a ValueError), zarr, the codecs and the XML parser raise on damage.
DAMAGE = (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError, SyntaxError, struct.error)


class OmeTiffLevels:
    """Stored levels of one image of an OME-TIFF, by its index in the file; may be shared by threads."""

    def __init__(self, path: Path, series: int) -> None:
        import zarr  # slow to import; most slides do not need it

        self._path, self._series = path, series
        try:
            self._tiff = tifffile.TiffFile(path)
        except DAMAGE as error:
            raise_if_of_the_system(error, path)
            raise _cannot_open(path, error) from error
        try:
            image = self._tiff.series[series]
            self._is_planar = image.axes == "SYX"
            # With more than one worker, however many, each tile is decoded in a thread of its own.
            self._store = image.aszarr(multiscales=True, maxworkers=2)
            group = zarr.open_group(self._store, mode="r", zarr_format=2)
            arrays = [group[str(level)] for level in range(len(image.levels))]
        except DAMAGE as error:
            self._tiff.close()
            raise_if_of_the_system(error, path)
            raise _cannot_open(path, error) from error
        self._arrays: list[Any] = sorted(arrays, key=lambda array: -array.size)
        self.sizes = tuple(self._across(array.shape) for array in self._arrays)
        self.downsamples = tuple(
            nominal_downsample(self.sizes[0], size, self.sizes[0][0] / size[0]) for size in self.sizes
        )
        self.tiles = tuple(self._across(array.chunks) for array in self._arrays)
        self.stored = len(self.sizes)

    def fetch(self, level: int, window: Window, out: NDArray[np.uint8]) -> int | None:
        """Decode a window inside the level to RGB on white; None if a tile is damaged.

        Stored tiles are read one by one, which is no slower. When one of several fails, zarr leaves
        the others running, and they would open the file again after it was closed.
        """
        array = self._arrays[level]
        for part in window.by_tile(self.tiles[level]):
            rows, cols = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
            try:
                tile = np.moveaxis(array[:, rows, cols], 0, -1) if self._is_planar else array[rows, cols]
            except DAMAGE as error:
                raise_if_of_the_system(error, self._path)
                logger.debug("%s: level %d, %s: %s", self._path, level, part, error)
                return None
            out[part.within(window)] = np.asarray(on_white(Image.fromarray(np.ascontiguousarray(tile))))
        return window.count_tiles(self.tiles[level])

    def reopened(self) -> Self:
        """Open the same file again."""
        return type(self)(self._path, self._series)

    def close(self) -> None:
        """Close the file."""
        self._store.close()  # other files that the image is spread over
        self._tiff.close()

    def _across(self, lengths: Sequence[int]) -> tuple[int, int]:
        """Width and height out of lengths along the axes of an array."""
        height, width = lengths[1:] if self._is_planar else lengths[:2]
        return int(width), int(height)


def is_ome_tiff(path: Path) -> bool:
    """Tell whether a file is a TIFF whose description is OME-XML."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with tifffile.TiffFile(path) as tiff:
            return bool(tiff.is_ome)
    except DAMAGE as error:
        raise_if_of_the_system(error, path)
        logger.debug("%s is not a TIFF that tifffile reads: %s", path, error)
        return False


def open_ome_tiff(path: Path, given: Mpp | None) -> tuple[SlideInfo, OmeTiffLevels]:
    """Open an OME-TIFF.

    Parameters
    ----------
    path : Path
        A file for which `is_ome_tiff` holds.
    given : Mpp or None
        Plausible pixel size of level 0, instead of what the file states.

    Raises
    ------
    SlideError
        The file is damaged, or is not 8-bit RGB.
    """
    try:
        with tifffile.TiffFile(path) as tiff:
            series = _largest_image(path, tiff)
            files = _files(tiff, series)
            ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]
        image = _listed(ome["Image"])[series]
    except DAMAGE as error:
        raise_if_of_the_system(error, path)
        raise SlideError(f"{path} is an OME-TIFF whose description cannot be read ({error})") from error
    levels = OmeTiffLevels(path, series)
    mpp, source = settle_mpp(path, _stated_mpp(image["Pixels"]), "metadata", given)
    info = SlideInfo(
        path=path,
        files=files,
        vendor="ome-tiff",
        reader="tifffile",
        size_l0=levels.sizes[0],
        plane=Box(0, 0, *levels.sizes[0]),
        bounds_l0=(0, 0),
        downsamples=levels.downsamples,
        levels=levels.sizes,
        mpp=mpp,
        mpp_source=source,
        objective=_objective(ome, image),
    )
    return info, levels


def _largest_image(path: Path, tiff: tifffile.TiffFile) -> int:
    """Index of the image with the most pixels, which must be 8-bit RGB."""
    areas = [series.sizes.get("width", 0) * series.sizes.get("height", 0) for series in tiff.series]
    index = areas.index(max(areas))
    image = tiff.series[index]
    is_rgb = image.axes in {"YXS", "SYX"} and image.sizes["sample"] in {3, 4} and image.dtype == np.uint8
    if not is_rgb:
        raise SlideError(
            f"{path} holds {image.dtype} of shape {image.shape} ({image.axes}); only 8-bit RGB is read"
        )
    return index


def _stated_mpp(pixels: Mapping[str, Any]) -> Mpp | None:
    """Pixel size of an OME `Pixels` element; its unit is um unless it says another."""
    sides = []
    for axis in "XY":
        length = pixels.get(f"PhysicalSize{axis}")
        unit = UM_PER_UNIT.get(pixels.get(f"PhysicalSize{axis}Unit", "um"))
        if not isinstance(length, int | float) or unit is None:
            return None
        sides.append(length * unit)
    return Mpp(*sides)


def _objective(ome: Mapping[str, Any], image: Mapping[str, Any]) -> float | None:
    """Nominal magnification of the objective that the image refers to."""
    wanted = image.get("ObjectiveSettings", {}).get("ID")
    for instrument in _listed(ome.get("Instrument", [])):
        for objective in _listed(instrument.get("Objective", [])):
            if objective.get("ID") == wanted and "NominalMagnification" in objective:
                return float(objective["NominalMagnification"])
    return None


def _files(tiff: tifffile.TiffFile, series: int) -> tuple[Path, ...]:
    """Every file that holds pages of the image; OME-TIFF may spread them."""
    handles = (page.parent.filehandle for page in tiff.series[series].pages if page is not None)
    return tuple(sorted({Path(handle.dirname) / handle.name for handle in handles}))


def _listed(value: Any) -> list[Any]:
    """A list of children; the XML parser gives a single child without one."""
    return value if isinstance(value, list) else [value]


def _cannot_open(path: Path, error: Exception) -> SlideError:
    return SlideError(f"{path} is an OME-TIFF that cannot be opened ({error})")
