"""Open a slide and read its pixels at a resolution; one doorway for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from wsi_necrosis.errors import SlideError
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.slides.info import SlideInfo, check_given_mpp
from wsi_necrosis.slides.jpeg_tiff_reader import open_jpeg_tiff
from wsi_necrosis.slides.ome_tiff_reader import is_ome_tiff, open_ome_tiff
from wsi_necrosis.slides.openslide_reader import existing_file, open_openslide
from wsi_necrosis.slides.pyramid import Levels, Pyramid, Region
from wsi_necrosis.slides.tiatoolbox_reader import is_jpeg_2000, is_zarr, open_jpeg_2000, open_ome_zarr


class Slide(Protocol):
    """An open slide; may be read from several threads."""

    info: SlideInfo

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        """Pixels of size `mpp`, averaged, from the top-left corner of `box`; white beyond the slide.

        The result has round(box.height_l0 * info.mpp.y / mpp.y) rows, and columns likewise. Where
        `needed` is given, stored tiles that meet none of these boxes are not decoded and stay white.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def open_slide(path: Path, mpp: Mpp | None = None, reader: str | None = None) -> Slide:
    """Open a slide of any format that OpenSlide reads, an OME-TIFF, a JPEG 2000 file or an OME-Zarr folder.

    Parameters
    ----------
    path : Path
        A file; any one file of a DICOM series; a folder that holds one DICOM series and no other; or
        the folder of an OME-Zarr image.
    mpp : Mpp, optional
        Pixel size of level 0, instead of what the file states.
    reader : {"jpeg-tiff", "openslide", "tiatoolbox", "tifffile"}, optional
        Read with this one or fail; by default the file alone decides which.

    Raises
    ------
    SlideError
        There is no such file, it is no slide that can be read, or `reader` does not read it.
    PixelSizeError
        `mpp` is implausible.
    MissingExtraError
        A JPEG 2000 file or an OME-Zarr folder, and tiatoolbox is not installed.
    """
    check_given_mpp(mpp)
    file = Path(path)
    if not is_zarr(file):
        file = existing_file(file)
    info, levels = _opened(file, mpp, reader)
    if reader not in {None, info.reader}:
        levels.close()
        raise SlideError(f"{path} cannot be read with {reader}; leave the choice to the file: {info.reader}")
    return _PyramidSlide(info, levels)


def _opened(file: Path, mpp: Mpp | None, reader: str | None) -> tuple[SlideInfo, Levels]:
    if is_ome_tiff(file):
        return open_ome_tiff(file, mpp)
    if is_jpeg_2000(file):
        return open_jpeg_2000(file, mpp)
    if is_zarr(file):
        return open_ome_zarr(file, mpp)
    info, levels = open_openslide(file, mpp)
    fast = None if reader == info.reader else open_jpeg_tiff(info, levels)
    if fast is None:
        return info, levels
    levels.close()
    return replace(info, reader="jpeg-tiff"), fast


class _PyramidSlide:
    """A slide whose pixels come from stored levels."""

    def __init__(self, info: SlideInfo, levels: Levels) -> None:
        self.info = info
        self._pyramid = Pyramid(levels)

    def read(self, box: Box, mpp: Mpp, needed: Sequence[Box] | None = None) -> Region:
        own = self.info.known_mpp
        px_l0 = mpp.x / own.x, mpp.y / own.y
        shape = max(1, round(box.height_l0 / px_l0[1])), max(1, round(box.width_l0 / px_l0[0]))
        return self._pyramid.read(box, px_l0, shape, needed)

    def close(self) -> None:
        self._pyramid.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
