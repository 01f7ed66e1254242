"""Small slides of several formats, and changes to their bytes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from wsi_necrosis.slides.tiff_check import DAMAGE

SIDE = 768
JPEG = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "software": False}
CM = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
APERIO = (
    "Aperio Image Library v12.0.15 \r\n{0}x{0} [0,0 {0}x{0}] (256x256) JPEG/RGB Q=85|AppMag = 20|MPP = 0.5"
)
OME = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
EXTREME = (0, 1, 2, 7, 255, 256, 32_768, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
DICOM_PIXELS = b"\xe0\x7f\x10\x00"
NUMBER = re.compile(rb"\d+")


@dataclass(frozen=True)
class Source:
    """A slide: the file that is named, and all its files, by their paths below one folder."""

    folder: Path
    named: Path
    files: tuple[Path, ...]

    def mutated(self, to: Path, rng: np.random.Generator) -> tuple[Path, Path]:
        """A copy of which one file is changed: what to name of it, and the changed file."""
        for each in self.files:
            (to / each).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / each, to / each)
        changed = self.files[int(rng.integers(len(self.files)))]
        (to / changed).write_bytes(mutated((self.folder / changed).read_bytes(), rng))
        return to / self.named, to / changed


def source_of(slide: Path) -> Source:
    """A slide that lies somewhere, with all its files."""
    from wsi_necrosis.slides.slide import open_slide

    with open_slide(slide) as opened:
        files = opened.info.files
    return Source(slide.parent, Path(slide.name), tuple(each.relative_to(slide.parent) for each in files))


def picture() -> np.ndarray:
    """Pink tissue with violet nuclei on glass, uint8 (SIDE, SIDE, 3)."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    out = np.full((SIDE, SIDE, 3), 243, np.uint8)
    tissue = np.hypot(rows - SIDE / 2, cols - SIDE / 2) < SIDE * 0.4
    out[tissue] = (214, 150, 190)
    out[tissue & (np.sin(rows / 5) * np.sin(cols / 6) > 0.6)] = (92, 62, 138)
    return out


def write_sources(folder: Path) -> list[Source]:
    """Small slides of the formats that can be written here."""
    folder.mkdir(parents=True, exist_ok=True)
    top = picture()
    small = np.ascontiguousarray(top[::4, ::4])
    with tifffile.TiffWriter(folder / "generic.tiff") as tiff:
        tiff.write(top, **JPEG, **CM, metadata=None)
        tiff.write(small, **JPEG, metadata=None, subfiletype=1)
    with tifffile.TiffWriter(folder / "aperio.svs") as tiff:
        tiff.write(top, **JPEG, metadata=None, description=APERIO.format(SIDE))
    with tifffile.TiffWriter(folder / "pyramid.ome.tiff", ome=True) as tiff:
        tiff.write(top, **JPEG, subifds=1, metadata=OME)
        tiff.write(small, **JPEG, subfiletype=1, metadata=None)
    tifffile.imwrite(folder / "strips.tif", top, photometric="rgb", rowsperstrip=64, metadata=None, **CM)
    tifffile.imwrite(
        folder / "deflate.tif",
        top,
        photometric="rgb",
        tile=(256, 256),
        compression="deflate",
        metadata=None,
        **CM,
    )
    return [Source(folder, Path(each.name), (Path(each.name),)) for each in sorted(folder.iterdir())]


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A few changes: numbers in directories, bytes anywhere, pieces lost, or the end cut off."""
    out = bytearray(data)
    fields = list(_fields(data))
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.choice(["number", "number", "number", "tag", "byte", "piece", "cut"])
        if kind == "number":
            _change_number(out, fields, rng)
        elif kind == "tag" and fields:
            at, _ = fields[int(rng.integers(len(fields)))]
            out[at - 8 : at - 6] = int(rng.integers(254, 350)).to_bytes(2, "little")
        elif kind == "byte" and out:
            out[int(rng.integers(len(out)))] = int(rng.integers(256))
        elif kind == "piece" and out:
            at, length = int(rng.integers(len(out))), int(rng.integers(1, 400))
            out[at : at + length] = bytes(len(out[at : at + length]))
        elif kind == "cut" and rng.random() < 0.3:
            del out[int(rng.integers(len(out) // 2, len(out))) :]
    return bytes(out)


def _change_number(out: bytearray, fields: Sequence[tuple[int, int]], rng: np.random.Generator) -> None:
    """Another number in a directory of a TIFF, else in a text, else somewhere near the beginning."""
    value = int(rng.choice(EXTREME)) if rng.random() < 0.7 else int(rng.integers(0, 70_000))
    if fields:
        at, size = fields[int(rng.integers(len(fields)))]
        out[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
        return
    found = [] if b"\0" in out[:512] else list(NUMBER.finditer(bytes(out)))
    if found:
        place = found[int(rng.integers(len(found)))]
        out[place.start() : place.end()] = str(value - 2 * (value % 2)).encode()
    elif len(out) > 8:
        at = int(rng.integers(min(len(out) - 4, 4096)))
        size = int(rng.choice([2, 4]))
        out[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")


def _fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Place and size of every count and value in the directories of a little-endian TIFF or BigTIFF."""
    if data[:4] not in {b"II*\0", b"II+\0"}:
        return
    big = data[2:3] == b"+"
    number, entry, word = (8, 20, 8) if big else (2, 12, 4)
    offset, seen = int.from_bytes(data[8:16] if big else data[4:8], "little"), set()
    while 0 < offset < len(data) - number and offset not in seen:
        seen.add(offset)
        count = min(int.from_bytes(data[offset : offset + number], "little"), 60)
        for at in range(offset + number, offset + number + entry * count, entry):
            yield at + 4 + word, 2 if data[at + 2 : at + 4] == b"\3\0" else word
            yield at + 4, 4
        following = offset + number + entry * count
        offset = int.from_bytes(data[following : following + word], "little")


def in_coded_pixels(source: Path, path: Path) -> bool:
    """Whether a file differs from its source in coded pixels, and in nothing that can be told."""
    one, other = (np.frombuffer(each.read_bytes(), np.uint8) for each in (source, path))
    if len(one) != len(other):
        return False
    differs = one != other
    if path.suffix == ".dat":
        return path.name.startswith("Data")
    if bytes(one[128:132]) == b"DICM":
        return not differs[: bytes(one).rfind(DICOM_PIXELS)].any()
    try:
        before, after = _directories(source), _directories(path)
    except DAMAGE:
        return False
    for _, offsets, lengths in before:
        for offset, length in zip(offsets, lengths, strict=True):
            differs[offset : offset + length] = False
    same = [(kind, offsets) for kind, offsets, _ in before] == [(kind, offsets) for kind, offsets, _ in after]
    return same or not differs.any()


def _directories(path: Path) -> list[tuple[tuple[object, ...], tuple[int, ...], tuple[int, ...]]]:
    """What each page of a TIFF is, and where its tiles lie."""
    with path.open("rb") as stream, tifffile.TiffFile(stream, name="any.tif") as tiff:
        pages = [each for first in tiff.pages for each in (first, *(first.pages or ()))]
        return [((page.shape, page.keyframe.hash), page.dataoffsets, page.databytecounts) for page in pages]
