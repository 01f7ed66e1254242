"""What the directories of a TIFF state, checked against its file before any pixel is read.

Decoders believe these numbers: one that is wrong makes them ask for terabytes, and some then end the process.
"""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi_necrosis.errors import ReadError, SlideError
from wsi_necrosis.slides.jpeg_decode import head_of
from wsi_necrosis.slides.jpeg_stream import SOI, Colour, JpegFrame, frame_of
from wsi_necrosis.slides.source_files import raise_if_of_the_system

# What tifffile (its TiffFileError is a ValueError), the codecs and XML parsers raise on damage.
DAMAGE = (
    *(OSError, ValueError, RuntimeError, LookupError, TypeError, SyntaxError, struct.error, ArithmeticError),
    *(AttributeError, AssertionError, MemoryError, NotImplementedError, EOFError),
)
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
MOST_PAGES = 10_000
MOST_TILE_PX = 2**26  # 8,192 x 8,192: OpenSlide then holds 270 MB for one tile
MOST_EXPANSION = 4  # stored bytes of a tile over its pixels' bytes, beside ...
SPARE_BYTES = 2**16
HEAD_BYTES = 2**16  # of a tile, in which its JPEG frame begins
PLAIN = ".tif"  # added to the name of an NDPI file that is read as any TIFF
JPEG = 7  # TIFF's compression tag
COLOURS: Mapping[int, Colour] = {2: "RGB", 6: "YCbCr"}  # by TIFF's photometric tag
PHOTOMETRIC = {
    0: "grey levels (white is zero)", 1: "grey levels", 3: "a palette", 4: "a mask", 5: "inks (CMYK)",
    8: "CIE L*a*b*", 9: "ICC L*a*b*", 10: "ITU L*a*b*",
}  # fmt: skip
UM_PER_UNIT = {2: 25_400.0, 3: 10_000.0}  # of TIFF's resolution unit: inch, cm
ICC_TAG = 34675
CONVERT = "convert it, as with `vips tiffsave IN OUT.tif --tile --pyramid --compression jpeg`"

# tifffile logs what it finds wrong in a file; what matters of it is said by the errors here.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class TiffFacts:
    """What the directories of a TIFF say.

    Attributes
    ----------
    is_ome : bool
        Whether it is described by OME-XML.
    is_tiled : bool
        Whether any page is stored in tiles.
    pixel_um : mapping
        Pixel size (x, y) in um that a tiled page states, by its size (width, height).
    contradiction : str or None
        Where the tag of a page and its JPEG tiles disagree on colours, in words.
    is_sparse : bool
        Whether tiles of a page are not stored.
    icc_profile : bytes or None
        Colour profile of the first page.
    """

    is_ome: bool = False
    is_tiled: bool = False
    pixel_um: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    contradiction: str | None = None
    is_sparse: bool = False
    icc_profile: bytes | None = None


def check_tiff(path: Path) -> TiffFacts | None:
    """Check the directories of a TIFF; None for a file that is none.

    Raises
    ------
    SlideError
        A tile is too large, stored tiles do not cover the plane, the pixels are not 8-bit RGB, or the directories are
        damaged.
    ReadError
        The system failed to read the file, or it ends before its last tile.
    """
    with told_as_damage(path), path.open("rb") as stream:
        if stream.read(4) not in MAGIC:
            return None
        # By the suffix .ndpi tifffile reads words that only files of over 4 GB need, and that not all writers add.
        plain = path.suffix.lower() == ".ndpi" and path.stat().st_size < 2**32
        stream.seek(0)
        with tifffile.TiffFile(stream if plain else path, name=f"{path}{PLAIN}" if plain else None) as tiff:
            return _facts(path, tiff)


@contextmanager
def told_as_damage(path: Path) -> Iterator[None]:
    """Turn what tifffile raises on damage into a SlideError that names the file, and errors of the system to theirs."""
    try:
        yield
    except DAMAGE as error:
        raise_if_of_the_system(error, path)
        reason = " ".join((str(error) or type(error).__name__).split())[:200]
        raise SlideError(f"{path} cannot be opened: its TIFF directories are damaged ({reason})") from error


def _facts(path: Path, tiff: tifffile.TiffFile) -> TiffFacts:
    pages = list(pages_of(path, tiff))
    if not pages:
        _require_whole(path)
        raise SlideError(f"{path} cannot be opened: it is a TIFF without a picture")
    is_ome, tiled = bool(tiff.is_ome), [page for page in pages if page.is_tiled]
    for page in tiled:
        check_page(path, page)
    if not is_ome:
        require_rgb(path, max(tiled or pages, key=lambda page: page.imagewidth * page.imagelength))
    found = [] if tiff.is_ndpi else [(page, jpeg_frame(page)) for page in tiled]
    for _, frame in found:
        if frame is not None and frame.unread:
            raise SlideError(f"{path} holds {frame.unread}, which is not read; {CONVERT}")
    icc = pages[0].tags.get(ICC_TAG)
    return TiffFacts(
        is_ome=is_ome,
        is_tiled=bool(tiled),
        pixel_um={_size(page): size for page in tiled if (size := resolution_um(page)) is not None},
        contradiction=next((said for page, frame in found if (said := _contradiction(page, frame))), None),
        is_sparse=any(0 in page.databytecounts for page in tiled),
        icc_profile=icc.value if icc is not None and isinstance(icc.value, bytes) else None,
    )


def _require_whole(path: Path) -> None:
    """Say where a file ends before the directory that its first bytes name, as a copy that was cut does."""
    with path.open("rb") as stream:
        head = stream.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = 43 in head[2:4]
    first, size = int.from_bytes(head[8:16] if big else head[4:8], order), path.stat().st_size
    if first >= size:
        raise ReadError(
            f"{path} has {size} bytes and its directory would begin at {first}; it was cut, or is copied still: copy "
            "it again"
        )


def pages_of(path: Path, tiff: tifffile.TiffFile) -> Iterator[Any]:
    """Every page, those in sub-directories after the one that names them.

    Raises
    ------
    SlideError
        There are too many.
    """
    count = 0
    for page in tiff.pages:
        for each in (page, *(page.pages or () if page.subifds else ())):
            count += 1
            if count > MOST_PAGES:
                raise SlideError(f"{path} has more than {MOST_PAGES:,} TIFF directories; it is damaged")
            yield each


def check_page(path: Path, page: Any) -> None:
    """Compare a page's sizes with what is stored of it; errors as `check_tiff`."""
    width, height = _size(page)
    across, down = (page.tilewidth, page.tilelength) if page.is_tiled else (width, page.rowsperstrip)
    what = f"{path} states {'tiles' if page.is_tiled else 'strips'} of {across} x {down} px"
    if min(width, height, across, down) < 1 or page.imagedepth != 1:
        raise SlideError(f"{what} for a picture of {width} x {height} x {page.imagedepth}; it is damaged")
    down = min(down, height) if not page.is_tiled else down
    if across * down > MOST_TILE_PX:
        raise SlideError(f"{what}; at most {MOST_TILE_PX:,} px are read at once. If that is right, {CONVERT}")
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    wanted = math.ceil(width / across) * math.ceil(height / down) * planes
    if not len(page.dataoffsets) == len(page.databytecounts) == wanted:
        raise SlideError(
            f"{what}, of which a picture of {width} x {height} px (ImageWidth, ImageLength) needs {wanted:,}, and "
            f"names {len(page.dataoffsets):,}; it is damaged"
        )
    offsets, lengths = (np.array(values, np.float64) for values in (page.dataoffsets, page.databytecounts))
    size, promised = path.stat().st_size, int(np.where(lengths > 0, offsets + lengths, 0).max())
    if size < promised and page.parent.filehandle.path in {str(path), f"{path}{PLAIN}"}:
        raise ReadError(
            f"{path} has {size} bytes where its directory names {promised}; it was cut, or is copied still: copy it "
            "again"
        )
    raw = across * down * page.samplesperpixel * max(1, page.bitspersample) // 8 // planes
    if page.compression == 1 and not _has_bytes_of_all(page, lengths, raw):
        raise SlideError(f"{what}, and not the bytes of so many pixels (ImageWidth, TileWidth, RowsPerStrip)")
    if lengths.max() > MOST_EXPANSION * raw + SPARE_BYTES:
        raise SlideError(f"{what} and {int(lengths.max()):,} bytes (TileByteCounts); it is damaged")


def _has_bytes_of_all(page: Any, lengths: NDArray[np.float64], raw: int) -> bool:
    """Whether uncompressed tiles have the bytes of their pixels each, and strips together; the last one is shorter."""
    if page.is_tiled:
        return bool((lengths[lengths > 0] == raw).all())
    row_bytes = page.imagewidth * page.samplesperpixel * max(1, page.bitspersample) // 8
    return 0 in lengths or int(lengths.sum()) == row_bytes * page.imagelength


def require_rgb(path: Path, page: Any) -> None:
    """Refuse a page that is not 8-bit RGB, by name.

    Raises
    ------
    SlideError
        It is of grey levels, of another depth or of other colours.
    """
    bits, samples, kind = page.bitspersample, page.samplesperpixel, int(page.photometric)
    way_out = f"only 8-bit RGB in brightfield colours is read; {CONVERT} once it is that"
    if kind not in COLOURS:
        raise SlideError(f"{path} holds {PHOTOMETRIC.get(kind, f'photometric {kind}')}; {way_out}")
    if bits != 8 or samples not in {3, 4} or page.sampleformat not in {1, None}:
        raise SlideError(f"{path} holds {samples} samples of {bits} bits for each pixel; {way_out}")


def resolution_um(page: Any) -> tuple[float, float] | None:
    """Pixel size (x, y) in um by the resolution tags of a page; None where they do not say."""
    unit = UM_PER_UNIT.get(int(page.resolutionunit))
    sides = []
    for name in ("XResolution", "YResolution"):
        tag = page.tags.get(name)
        value = tag.value if tag is not None else None
        if unit is None or not isinstance(value, tuple) or len(value) != 2 or min(value) <= 0:
            return None
        sides.append(unit * value[1] / value[0])
    return sides[0], sides[1]


def jpeg_frame(page: Any) -> JpegFrame | None:
    """The frame of the first JPEG tile that a page stores; None for other pages."""
    lengths = page.databytecounts
    at = next((at for at, length in enumerate(lengths) if length), None)
    head = head_of(page.jpegtables)
    if page.compression != JPEG or at is None or head is None:
        return None
    handle = page.parent.filehandle
    handle.seek(page.dataoffsets[at])
    data = handle.read(min(lengths[at], HEAD_BYTES))
    return frame_of(head + data[len(SOI) :])


def _contradiction(page: Any, frame: JpegFrame | None) -> str | None:
    tag, proven = COLOURS.get(int(page.photometric)), None if frame is None else frame.proven_colour
    if proven is None or tag == proven:
        return None
    return f"the TIFF tag says {tag} and the JPEG tiles are {proven}"


def _size(page: Any) -> tuple[int, int]:
    return page.imagewidth, page.imagelength
