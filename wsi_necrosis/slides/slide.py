"""Open a slide of any format and read its pixels at a resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.errors import ReadError, SlideError, UsageError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import GivenMpp, SlideInfo, check_given_mpp
from wsi_necrosis.slides.jpeg_tiff_reader import open_jpeg_tiff
from wsi_necrosis.slides.not_slides import require_not_known
from wsi_necrosis.slides.openslide_reader import existing_file, is_vendors_own, open_openslide
from wsi_necrosis.slides.picture_reader import is_picture, open_picture
from wsi_necrosis.slides.pyramid import Pyramid
from wsi_necrosis.slides.source_files import SourceFiles, read_error
from wsi_necrosis.slides.stored_levels import Levels, Region
from wsi_necrosis.slides.tiatoolbox_reader import is_jpeg_2000, is_zarr, open_jpeg_2000, open_ome_zarr
from wsi_necrosis.slides.tiff_check import CONVERT, TiffFacts, check_tiff
from wsi_necrosis.slides.tifffile_reader import colour_warning, open_ome_tiff, open_plain_tiff

BAND_PX = 32  # rows of a thumbnail that are read at once, so that no large level is held whole


class Slide(Protocol):
    """An open slide; may be read from several threads."""

    info: SlideInfo

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        ...

    @property
    def mpp(self) -> Mpp | None:
        """Size of a level-0 pixel in um, along x and y; None where it is not known."""
        ...

    def thumbnail(self, longest_px: int = 1024) -> NDArray[np.uint8]:
        """The slide's plane as RGB, uint8 (height, width, 3), its longer side at most `longest_px`.

        Raises
        ------
        UsageError
            `longest_px` is below 1.
        """
        ...

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        """Pixels of size `mpp`, averaged, from the top-left corner of `box`; white beyond the slide.

        The result has round(box.height_l0 * info.mpp.y / mpp.y) rows, and columns likewise. Where
        `needed` is given, stored tiles that meet none of these boxes are not decoded and stay white.
        """
        ...

    @property
    def jpeg_tiles(self) -> tuple[tuple[int, int] | None, ...]:
        """Width and height of the tiles of each of `info.levels`, where these lie in the file as JPEG; else None."""
        ...

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        """A stored tile of such a level as a JPEG file, not decoded; None where it is not stored, or damaged.

        It has the size of its level's tiles, also where it overhangs the level: its pixels there mean nothing.
        """
        ...

    def require_unchanged(self) -> None:
        """Compare size and time of the slide's files with what they were when it was opened.

        Raises
        ------
        SlideChangedError
            One has changed.
        ReadError
            One is gone, or cannot be looked at.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_slide(
    path: str | Path,
    mpp: SupportsFloat | Mpp | GivenMpp | None = None,
    reader: str | None = None,
    scene: str | int | None = None,
) -> Slide:
    """Open a slide of any format that OpenSlide reads, a TIFF, a JPEG 2000 file, an OME-Zarr folder or a picture.

    Parameters
    ----------
    path : str or Path
        A file; any one file of a DICOM series; a folder that holds one DICOM series and no other; or
        the folder of an OME-Zarr image.
    mpp : float, Mpp or GivenMpp, optional
        Pixel size of level 0 in um, instead of what the file states; `GivenMpp` also says what gives it.
    reader : {"jpeg-tiff", "openslide", "pillow", "tiatoolbox", "tifffile"}, optional
        Read with this one or fail; by default it is chosen by the file.
    scene : str or int, optional
        Number (from 1) or name of the image to read, where a file holds several; by default the largest.

    Raises
    ------
    SlideError
        There is no such file, it is no slide that can be read, or `reader` does not read it.
    ReadError
        The system failed to read it, or it ends before its last tile.
    PixelSizeError
        `mpp` is implausible.
    UsageError
        There is no such scene.
    MissingExtraError
        A JPEG 2000 file or an OME-Zarr folder, and tiatoolbox is not installed.

    Examples
    --------
    >>> import wsi_necrosis as wn
    >>> _ = wn.write_phantom("small.tiff", side_mm=0.5)
    >>> with wn.open_slide("small.tiff") as slide:
    ...     slide.dimensions, slide.mpp.x, slide.thumbnail(100).shape
    ((1000, 1000), 0.5, (100, 100, 3))
    """
    given = GivenMpp.of(mpp)
    check_given_mpp(given)
    file = Path(path)
    try:
        if not is_zarr(file):
            file = existing_file(file)
        info, levels = _opened(file, given, reader, None if scene is None else str(scene))
    except OSError as error:
        raise read_error(error, file) from error
    if reader not in {None, info.reader}:
        levels.close()
        raise SlideError(f"{path} cannot be read with {reader}; leave it to the default, {info.reader}")
    if scene is not None and not info.scenes and str(scene) != "1":
        levels.close()
        raise UsageError(f"{path} has no scene {scene}; it holds one image")
    return _PyramidSlide(info, levels)


def _opened(
    file: Path, mpp: GivenMpp | None, reader: str | None, scene: str | None
) -> tuple[SlideInfo, Levels]:
    """Metadata and levels, by what the file is; the format's own reader comes before OpenSlide."""
    require_not_known(file)
    if is_zarr(file):
        return open_ome_zarr(file, mpp)
    if is_jpeg_2000(file):
        return open_jpeg_2000(file, mpp)
    if is_picture(file):
        return open_picture(file, mpp)
    tiff = check_tiff(file)
    if tiff is None:
        return open_openslide(file, mpp)
    return open_ome_tiff(file, tiff, mpp, scene) if tiff.is_ome else _opened_tiff(file, tiff, mpp, reader)


def _opened_tiff(
    file: Path, tiff: TiffFacts, mpp: GivenMpp | None, reader: str | None
) -> tuple[SlideInfo, Levels]:
    """A TIFF as OpenSlide opens it; one that it does not, of no maker's own format, with tifffile."""
    try:
        info, levels = open_openslide(file, mpp, tiff.pixel_um)
    except ReadError:
        raise
    except SlideError:
        if is_vendors_own(file):
            raise
        return open_plain_tiff(file, tiff, mpp)
    found, chosen = _faster(info, levels, tiff, reader)
    if (
        not tiff.is_sparse
        or found.vendor != "generic-tiff"
        or found.reader != "openslide"
        or reader == "openslide"
    ):
        return found, chosen
    chosen.close()  # OpenSlide does not say which tiles level 0 lacks where a coarser one shows them
    return open_plain_tiff(file, tiff, mpp)


def _faster(info: SlideInfo, levels: Levels, tiff: TiffFacts, reader: str | None) -> tuple[SlideInfo, Levels]:
    """A TIFF with the fast reader where that gives OpenSlide's pixels, else as OpenSlide opened it."""
    try:
        fast = None if reader == info.reader else open_jpeg_tiff(info, levels)
        if tiff.contradiction and fast is None and info.vendor != "hamamatsu":
            raise SlideError(
                f"{info.path} would be shown in wrong colours, as {tiff.contradiction}; {CONVERT} with a reader that "
                "believes the tiles"
            )
    except BaseException:
        levels.close()
        raise
    if fast is None:
        return info, levels
    levels.close()
    said = (colour_warning(tiff.contradiction),) if tiff.contradiction else ()
    return replace(info, reader="jpeg-tiff", warnings=(*info.warnings, *said)), fast


class _PyramidSlide:
    """A slide whose pixels come from stored levels."""

    def __init__(self, info: SlideInfo, levels: Levels) -> None:
        self.info = info
        self._files = SourceFiles.of(info.files)
        self._pyramid = Pyramid(levels, self._files)

    @property
    def dimensions(self) -> tuple[int, int]:
        return self.info.size_l0

    @property
    def mpp(self) -> Mpp | None:
        return self.info.mpp

    def thumbnail(self, longest_px: int = 1024) -> NDArray[np.uint8]:
        if longest_px < 1:
            raise UsageError(f"a thumbnail of {longest_px} px cannot be made; give 1 or more")
        plane = self.info.plane
        side_l0 = max(1.0, plane.width_l0 / longest_px, plane.height_l0 / longest_px)
        rows, cols = (max(1, round(side / side_l0)) for side in (plane.height_l0, plane.width_l0))
        bands = []
        for top in range(0, rows, BAND_PX):
            height = min(BAND_PX, rows - top)
            box = Box(plane.x_l0, plane.y_l0 + top * side_l0, plane.width_l0, height * side_l0)
            bands.append(self._pyramid.read(box, (side_l0, side_l0), (height, cols)).rgb)
        return np.concatenate(bands)

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        own = self.info.known_mpp
        px_l0 = mpp.x / own.x, mpp.y / own.y
        shape = max(1, round(box.height_l0 / px_l0[1])), max(1, round(box.width_l0 / px_l0[0]))
        return self._pyramid.read(box, px_l0, shape, needed)

    @property
    def jpeg_tiles(self) -> tuple[tuple[int, int] | None, ...]:
        return self._pyramid.jpeg_tiles

    def jpeg_tile(self, level: int, row: int, col: int) -> bytes | None:
        return self._pyramid.jpeg_tile(level, row, col)

    def require_unchanged(self) -> None:
        self._files.require_unchanged()

    def close(self) -> None:
        self._pyramid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
