"""What people name that is no slide that can be read: said by name, with a way out."""

from __future__ import annotations

from pathlib import Path

from wsi_necrosis.errors import SlideError

HEAD_BYTES = 1024
MIRAX_INDEX = "Slidedat.ini"
# Beginnings of files, in small letters.
HEADS = (
    (b"<!doctype html", "a web page (HTML), as a failed download leaves; download it again"),
    (b"<html", "a web page (HTML), as a failed download leaves; download it again"),
    (b"version https://git-lfs", "a Git LFS pointer, and not the slide; fetch that with `git lfs pull`"),
    (b"/annex/objects", "a git-annex pointer, and not the slide; fetch that with `git annex get`"),
    (b"<?xml", "an XML file; name the slide that it describes"),
    (b"%pdf", "a PDF; export the slide itself"),
    (b"pk\x03\x04", "a ZIP archive; unpack it"),
    (b"\x1f\x8b", "packed by gzip; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"rar!", "a RAR archive; unpack it"),
)
BIOFORMATS = "convert it to OME-TIFF, as with `bfconvert IN OUT.ome.tiff`"
SUFFIXES = {
    ".vsi": f"an Olympus VSI slide, which is not read; {BIOFORMATS}",
    ".ets": "a part of an Olympus VSI slide, which is not read; convert the .vsi, as with `bfconvert IN OUT.ome.tiff`",
    ".lif": f"a Leica LIF file, which is not read; {BIOFORMATS}",
    ".nd2": f"a Nikon ND2 file, which is not read; {BIOFORMATS}",
    ".qptiff": f"a QPTIFF, which is not read; {BIOFORMATS}",
    ".isyntax": "a Philips iSyntax slide, which is not read; convert it to OME-TIFF, as with `isyntax2raw`",
    ".mds": f"a slide of Motic, which is not read; {BIOFORMATS}",
    ".kfb": "a KFBio slide, which is not read; export it as SVS or TIFF with the maker's program",
    ".sdpc": "an SQRAY slide, which is not read; export it as SVS or TIFF with the maker's program",
}


def require_not_known(path: Path) -> None:
    """Refuse a file or folder that is known not to be a slide.

    Raises
    ------
    SlideError
        It says what the path is and what to name instead.
    """
    if path.is_dir():
        if (path / MIRAX_INDEX).is_file():
            _of_mirax(path, path)
        return
    if (path.parent / MIRAX_INDEX).is_file() and path.suffix.lower() in {".ini", ".dat"}:
        _of_mirax(path, path.parent)
    if path.suffix.lower() == ".mrxs":
        _require_whole_mirax(path)
    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, said in HEADS:
        if head.startswith(start):
            raise SlideError(f"{path} is {said}")


def cannot_read(path: Path, known: str) -> SlideError:
    """The error for a file that no reader opens: by its suffix, where that tells what it is."""
    said = SUFFIXES.get(path.suffix.lower())
    return SlideError(
        f"{path} is {said}" if said else f"{path} is not a whole-slide image of a known format; {known}"
    )


def _of_mirax(path: Path, folder: Path) -> None:
    beside = (each for each in folder.parent.iterdir() if each.stem == folder.name)
    slide = next((each for each in beside if each.suffix.lower() == ".mrxs"), None)
    if slide is None:
        raise SlideError(
            f"{path} belongs to a MIRAX slide, and {folder.name}.mrxs is not beside its folder; copy that"
        )
    raise SlideError(f"{path} belongs to a MIRAX slide; name {slide}")


def _require_whole_mirax(path: Path) -> None:
    folder = path.with_suffix("")
    if not folder.is_dir():
        raise SlideError(
            f"{path} is a MIRAX slide whose folder {folder.name} is missing beside it; copy that, too"
        )
    if not (folder / MIRAX_INDEX).is_file():
        raise SlideError(
            f"{path} is a MIRAX slide in whose folder {folder.name}/{MIRAX_INDEX} is missing; copy it again"
        )
    if path.suffix != ".mrxs":
        raise SlideError(f"{path} is a MIRAX slide whose suffix must be .mrxs in small letters; rename it")
