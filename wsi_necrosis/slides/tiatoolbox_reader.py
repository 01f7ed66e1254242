"""JPEG 2000 files and OME-Zarr folders, which neither OpenSlide nor tifffile opens, read with tiatoolbox.

tiatoolbox's readers open the slide. Pixels are taken level by level from the arrays in these readers, since the
regions that the readers return are resampled and padded. JPEG 2000 is decoded by OpenJPEG; its levels are those of
the wavelet transform, whose pixels lie up to half a level pixel from means of squares. Of OME-Zarr (OME-NGFF)
tiatoolbox 2.1 reads version 0.4, with metadata `omero`, and arrays whose names are numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, pixel_size_warnings, settle_mpp
from wsi_necrosis.slides.levels import with_true_levels
from wsi_necrosis.slides.source_files import raise_if_of_the_system
from wsi_necrosis.slides.stored_levels import Levels, plain_downsample
from wsi_necrosis.slides.tiatoolbox_pictures import (
    DAMAGE,
    JPEG_2000_HEAD,
    ZARR_FILES,
    Jpeg2000,
    OmeZarr,
    Picture,
)
from wsi_necrosis.slides.window import Window, mark_unstored

logger = logging.getLogger(__name__)


class TiatoolboxLevels:
    """Stored levels of a slide that tiatoolbox opens; may be shared by threads."""

    def __init__(self, picture: Picture) -> None:
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
            if self.is_sparse:
                self._whiten_unstored(level, window, out, absent)
        except DAMAGE as error:
            raise_if_of_the_system(error, self._picture.path)
            logger.debug("%s: level %d, %s: %s", self._picture.path, level, window, error)
            return None
        return window.count_tiles(self.tiles[level])

    def _whiten_unstored(
        self, level: int, window: Window, out: NDArray[np.uint8], absent: NDArray[np.bool_] | None
    ) -> None:
        """Level 0 counts, too, as a coarser level may show what it does not store."""
        lacks = np.zeros(out.shape[:2], bool)
        for index in {0, level}:
            scale = self.downsamples[level] / self.downsamples[index]
            mark_unstored(lacks, window, scale, self.tiles[index], self._picture.unstored(index))
        out[lacks] = 255
        if absent is not None:
            absent |= lacks

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


def open_jpeg_2000(path: Path, given: GivenMpp | None) -> tuple[SlideInfo, Levels]:
    """Open a JPEG 2000 file (JP2) with tiatoolbox's reader.

    Parameters
    ----------
    path : Path
        A file for which `is_jpeg_2000` holds.
    given : GivenMpp or None
        Plausible pixel size of level 0, instead of what the file states.

    Raises
    ------
    SlideError
        The file is damaged, or is not 8-bit RGB.
    MissingExtraError
        tiatoolbox is not installed or cannot be imported, or there is no OpenJPEG.
    """
    return _opened(path, "JPEG 2000", Jpeg2000, given)


def open_ome_zarr(path: Path, given: GivenMpp | None) -> tuple[SlideInfo, Levels]:
    """Open an OME-Zarr folder (OME-NGFF) with tiatoolbox's reader.

    Parameters
    ----------
    path : Path
        A folder for which `is_zarr` holds.
    given : GivenMpp or None
        Plausible pixel size of level 0, instead of what the metadata state.

    Raises
    ------
    SlideError
        The folder is damaged, no image that tiatoolbox opens, or not 8-bit RGB.
    MissingExtraError
        tiatoolbox is not installed or cannot be imported.
    """
    return _opened(path, "OME-Zarr", OmeZarr, given)


def _opened(
    path: Path, kind: str, picture_class: Callable[[Path], Picture], given: GivenMpp | None
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
