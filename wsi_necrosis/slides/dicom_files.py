"""DICOM files: whether one is a whole-slide image, to which series it belongs, and which files that series has."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import SlideError
from wsi_necrosis.slides.source_files import raise_if_of_the_system

MAGIC_AT, MAGIC = 128, b"DICM"
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"  # the class of whole-slide images
MOST_FRAME_PX = 2**26
WANTED = (
    *("SOPClassUID", "SeriesInstanceUID", "ImageType", "Rows", "Columns", "BitsAllocated", "SamplesPerPixel"),
    *("PhotometricInterpretation", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "NumberOfFrames"),
    *("DimensionOrganizationType", "ConcatenationUID"),
)
ATTACHED = ("LABEL", "OVERVIEW", "THUMBNAIL")  # kinds of images that are no level of a slide
DECODED = tuple(
    f"1.2.840.10008.1.2{each}" for each in (".1", ".4.50", ".4.90", ".4.91")
)  # codings that OpenSlide reads
COLOURS = frozenset({"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"})
# What pydicom raises on damage, beside errors of its own.
DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError),
    *(NotImplementedError, RecursionError, AssertionError, MemoryError, struct.error),
)


@dataclass(frozen=True)
class DicomHead:
    """What a DICOM file says of itself, at the level of its own data set; no element inside a sequence counts.

    Attributes
    ----------
    sop_class, series : str or None
        Class and series of the object.
    transfer_syntax : str
        How its pixels are coded, in words.
    facts : mapping
        Its other elements, by name.
    """

    sop_class: str | None
    series: str | None
    transfer_syntax: str
    facts: dict[str, Any]

    @property
    def is_slide(self) -> bool:
        """Whether it is a whole-slide image of a series."""
        return self.sop_class == WHOLE_SLIDE and bool(self.series)

    def number(self, name: str) -> int:
        """An element as a number; 0 where it is none."""
        try:
            return int(self.facts.get(name) or 0)
        except (TypeError, ValueError):
            return 0


def dicom_head(path: Path) -> DicomHead | None:
    """What a DICOM file says of itself; None for other files, and for folders, pipes and devices.

    Raises
    ------
    ReadError
        The system failed to read it.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size <= MAGIC_AT:
            return None
        with path.open("rb") as stream:
            stream.seek(MAGIC_AT)
            if stream.read(len(MAGIC)) != MAGIC:
                return None
        return _head(path, found.st_size, found.st_mtime_ns)
    except DAMAGE as error:
        raise_if_of_the_system(error, path)
        return DicomHead(None, None, "unknown", {})


@lru_cache(maxsize=4096)
def _head(path: Path, _size: int, _changed_ns: int) -> DicomHead:
    """The head of a DICOM file as it was at one time: a folder's files are asked for it again and again."""
    from pydicom import config, dcmread, errors  # takes half a second to import; few slides need it

    config.settings.reading_validation_mode = config.IGNORE
    try:
        with dcmread(path, stop_before_pixels=True, specific_tags=list(WANTED)) as found:
            pass
        syntax = getattr(found.file_meta, "TransferSyntaxUID", None)
        facts = {name: found.get(name) for name in WANTED}
    except (
        errors.BytesLengthException,
        errors.InvalidDicomError,
    ) as error:  # which derive from no usual error
        raise ValueError(str(error)) from error
    return DicomHead(
        sop_class=_text(facts["SOPClassUID"]),
        series=_text(facts["SeriesInstanceUID"]),
        transfer_syntax="unknown" if syntax is None else f"{getattr(syntax, 'name', syntax)} ({syntax})",
        facts=facts,
    )


def series_files(path: Path) -> list[Path]:
    """Whole-slide images beside a DICOM file that belong to its series; itself alone where it names none."""
    own = dicom_head(path)
    if own is None or not own.is_slide:
        return [path]
    return [file for file in _regular(path.parent) if _series(file) == own.series]


def only_slide(folder: Path) -> Path:
    """A file of the one DICOM slide in a folder; other files and objects are passed over.

    Raises
    ------
    SlideError
        There is none, or more than one.
    """
    by_series: dict[str, list[Path]] = {}
    for file in _regular(folder):
        series = _series(file)
        if series is not None:
            by_series.setdefault(series, []).append(file)
    if not by_series:
        below = [each for each in _folders(folder) if any(_series(file) for file in _regular(each))]
        hint = f"name {below[0]}" if below else "name a slide file"
        raise SlideError(f"{folder} is a folder without a DICOM slide; {hint}")
    if len(by_series) > 1:
        names = ", ".join(sorted(files[0].name for files in by_series.values())[:5])
        raise SlideError(
            f"{folder} is a folder that holds more than one DICOM slide; name one file of it: {names}"
        )
    return next(iter(by_series.values()))[0]


def check_dicom(path: Path) -> None:
    """Refuse a DICOM file that is no slide, is not 8-bit RGB, or states sizes that cannot be.

    Raises
    ------
    SlideError
        With what it is.
    """
    head = dicom_head(path)
    if head is None:
        return
    if not head.is_slide:
        raise SlideError(
            f"{path} is a DICOM file and no whole-slide image ({head.sop_class or 'of no class'})"
        )
    colours, bits = head.facts["PhotometricInterpretation"], head.number("BitsAllocated")
    if bits != 8 or head.number("SamplesPerPixel") != 3 or colours not in COLOURS:
        samples = head.number("SamplesPerPixel")
        raise SlideError(f"{path} holds {samples} samples of {bits} bits ({colours}); only 8-bit RGB is read")
    rows, cols = head.number("Rows"), head.number("Columns")
    height, width = head.number("TotalPixelMatrixRows"), head.number("TotalPixelMatrixColumns")
    frames = max(1, head.number("NumberOfFrames"))
    if not 0 < rows * cols <= MOST_FRAME_PX:
        raise SlideError(
            f"{path} states frames of {cols} x {rows} px (Columns, Rows); at most {MOST_FRAME_PX:,} px are read at once"
        )
    full = -(-height // rows) * -(-width // cols)
    if frames > full or min(height, width) < 1 or (frames < full and _must_be_full(head)):
        raise SlideError(
            f"{path} holds {frames:,} frames of {cols} x {rows} px for a plane of {width} x {height} "
            "(TotalPixelMatrixColumns, TotalPixelMatrixRows); it is damaged, or holds several planes"
        )


def _must_be_full(head: DicomHead) -> bool:
    """Whether a file says that it stores every frame of its plane, and is no part of a concatenation."""
    return head.facts["DimensionOrganizationType"] == "TILED_FULL" and not head.facts["ConcatenationUID"]


def cannot_open(path: Path, reason: str) -> SlideError:
    """The error for a DICOM slide that OpenSlide does not open: what it shows or how it is coded, where that is why."""
    head = dicom_head(path)
    said = f"{path} is a DICOM slide that OpenSlide cannot open ({reason})"
    if head is None:
        return SlideError(f"{said}; convert it, as with wsidicomizer")
    kind = next((each for each in ATTACHED if each in (head.facts["ImageType"] or ())), None)
    if kind:
        return SlideError(
            f"{said}: the file is its {kind.lower()} image, and none of its slide lies beside it; copy that"
        )
    if any(f"({each})" in head.transfer_syntax for each in DECODED):
        return SlideError(f"{said}; convert it, as with wsidicomizer")
    return SlideError(
        f"{said}; it is coded as {head.transfer_syntax}. OpenSlide reads JPEG baseline and JPEG 2000; convert it, as "
        "with wsidicomizer"
    )


def _series(path: Path) -> str | None:
    head = dicom_head(path)
    return head.series if head is not None and head.is_slide else None


def _regular(folder: Path) -> Iterable[Path]:
    """Files of a folder, sorted, but for hidden ones."""
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries if not each.name.startswith(".") and each.is_file())
    return [folder / name for name in names]


def _folders(folder: Path) -> Iterable[Path]:
    with os.scandir(folder) as entries:
        names = sorted(each.name for each in entries if not each.name.startswith(".") and each.is_dir())
    return [folder / name for name in names]


def _text(value: object) -> str | None:
    return str(value).strip() or None if value is not None else None
