"""Find the slides of a folder: each once, without hidden files, thumbnails, and companion files of other slides."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.errors import ReadError, UsageError, WsiNecrosisError
from wsi_necrosis.slides.dicom_files import dicom_head
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.slides.tiatoolbox_reader import is_zarr

SUFFIXES = frozenset(
    {".svs", ".svslide", ".ndpi", ".mrxs", ".scn", ".bif", ".czi", ".vms", ".vmu", ".dcm", ".jp2", ".j2k"}
    | {".tif", ".tiff", ".btf", ".tf2", ".tf8"}
)
ATTACHED = re.compile(r"(^|[\s_.-])(thumb|thumbnail|label|macro)$", re.IGNORECASE)
MIRAX_INDEX = "Slidedat.ini"


@dataclass(frozen=True)
class Skipped:
    """A file or folder that looks like a slide and is not taken, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class FoundSlides:
    """The slides of a folder, sorted, and what was passed over."""

    slides: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def find_slides(
    folder: Path, pattern: str | None = None, *, recursive: bool = False, but_with: Sequence[str] = ()
) -> FoundSlides:
    """Find the slides of a folder.

    Files are told by their names, and those without a suffix by whether they are DICOM; whether a slide can be opened
    is not asked, so that a damaged one is found, too. Of a slide of several files one is named. Hidden files and
    folders (names with a leading dot) are passed over without a word.

    Parameters
    ----------
    folder : Path
        Where to look.
    pattern : str, optional
        Names that are taken, as `*.svs`; capitals do not matter. By default all suffixes of slides.
    recursive : bool
        Look in folders of the folder, too.
    but_with : sequence of str
        Names of files; a folder that holds one of them, as a folder of results does, is passed over, too.

    Raises
    ------
    UsageError
        There is no such folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> import wsi_necrosis as wn
    >>> from wsi_necrosis.slides.finding import find_slides
    >>> Path("folder").mkdir()
    >>> _ = wn.write_phantom("folder/a.tiff", side_mm=0.5)
    >>> _ = Path("folder/._a.tiff").write_bytes(b"left by a Mac")
    >>> [path.name for path in find_slides(Path("folder")).slides]
    ['a.tiff']
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; check the path")
    search = _Search(pattern, recursive=recursive, but_with=but_with)
    search.look_into(folder, frozenset())
    return FoundSlides(
        tuple(sorted(search.slides)), tuple(sorted(search.skipped, key=lambda each: each.path))
    )


class _Search:
    """What was found so far."""

    def __init__(self, pattern: str | None, *, recursive: bool, but_with: Sequence[str]) -> None:
        self.but_with = but_with
        self.slides: list[Path] = []
        self.skipped: list[Skipped] = []
        self._pattern, self._recursive = pattern, recursive

    def look_into(self, folder: Path, above: frozenset[Path]) -> None:
        """Add what is in a folder; `above` are the folders that it lies in, to which links may lead back."""
        try:
            self._look_into(folder, above)
        except OSError as error:
            self.skipped.append(Skipped(folder, f"the folder cannot be read ({error.strerror})"))

    def _look_into(self, folder: Path, above: frozenset[Path]) -> None:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        if is_zarr(folder):
            self.slides.append(folder)
            return
        if any((folder / name).exists() for name in self.but_with):
            return
        above |= {folder.resolve()}
        for path in paths:
            if path.is_dir() and path.resolve() not in above:
                self._take_folder(path, above)
        self.slides += _without_companions(
            [path for path in paths if not path.is_dir() and self._takes(path)]
        )

    def _take_folder(self, folder: Path, above: frozenset[Path]) -> None:
        try:
            is_mirax = (folder / MIRAX_INDEX).exists()
        except PermissionError:  # closed: `look_into` says so where it would be looked into
            is_mirax = False
        if is_mirax:
            slide = folder.with_name(f"{folder.name}.mrxs")
            if not slide.exists():
                said = f"it belongs to a MIRAX slide, and {slide.name} is not beside it; copy that, too"
                self.skipped.append(Skipped(folder, said))
        elif self._recursive or folder.suffix.lower() == ".zarr":
            self.look_into(folder, above)

    def _takes(self, path: Path) -> bool:
        """Whether a file is taken for a slide; the reason against one that looks like a slide is noted."""
        if self._pattern is not None:
            if not fnmatch.fnmatch(path.name.lower(), self._pattern.lower()):
                return False
        elif path.suffix.lower() not in SUFFIXES and path.suffix:
            return False
        reason = _reason_against(path)
        if reason:
            self.skipped.append(Skipped(path, reason))
        return reason is None


def _reason_against(path: Path) -> str | None:
    """Why a file is no slide; empty where nobody would take it for one, None where it may be a slide."""
    if not path.is_symlink() and not path.is_file():
        return "it is a pipe, a socket or a device, and no file"
    if path.exists() and not path.is_file():
        return "it leads to a pipe, a socket or a device, and to no file"
    if ATTACHED.search(path.name.split(".")[0]):
        return "by its name it is the thumbnail, label or macro image of a slide; rename it, or name it alone"
    if path.suffix.lower() in {".dcm", ""} and path.is_file():
        kind = _dicom_class(path)
        if kind is None:
            return None if path.suffix else ""
        return None if kind else "it is a DICOM file and no whole-slide image"
    return None


def _dicom_class(path: Path) -> bool | None:
    """Whether a DICOM file is a whole-slide image; None for other files, and for those that cannot be read."""
    try:
        head = dicom_head(path)
    except ReadError:
        return None
    return None if head is None else head.is_slide


def _without_companions(paths: list[Path]) -> list[Path]:
    """One file of each slide: of those that may have several files, each is asked which ones belong to it."""
    companions: set[Path] = set()
    found = []
    for path in paths:
        if path in companions:
            continue
        found.append(path)
        if path.suffix.lower() in {".dcm", ""} or ".ome." in path.name.lower():
            try:
                with open_slide(path) as slide:
                    companions |= set(slide.info.files)
            except (
                WsiNecrosisError
            ):  # a slide all the same: that it cannot be opened is for its analysis to say
                continue
    return found
