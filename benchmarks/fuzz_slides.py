"""Mutated slides: what becomes of files that lie about themselves.

    python benchmarks/fuzz_slides.py [--slides 1000] [--seed 1] [--keep FOLDER]

Each slide is a small one of some format in which bytes of directories and headers were changed. A child process opens
it, reads its overview and a region, and says what it found, under limits of 20 s and 2 GB. Counted are:

- `refused`: an error of this package;
- `same`: the pixels of the file before;
- `warned`: other pixels, with a warning or unreadable parts;
- `coded`: other pixels where bytes of coded pixels alone were changed, of which formats keep no checksum;
- `other`: other pixels for another reason; each is to be looked at;
- `traceback`, `time`, `memory`, `abort`: faults, which make the exit code 1.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

SECONDS, BYTES = 20.0, 2 * 2**30
SIDE = 768
FAULTS = ("traceback", "time", "memory", "abort")
JPEG = {"tile": (256, 256), "compression": "jpeg", "photometric": "rgb", "software": False}
CM = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
APERIO = (
    "Aperio Image Library v12.0.15 \r\n{0}x{0} [0,0 {0}x{0}] (256x256) JPEG/RGB Q=85|AppMag = 20|MPP = 0.5"
)
OME = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
EXTREME = (0, 1, 2, 7, 255, 256, 32_768, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Outcome:
    """What became of one mutated slide, with the first words of its error."""

    kind: str
    said: str = ""
    seconds: float = 0.0


def picture() -> np.ndarray:
    """Pink tissue with violet nuclei on glass, uint8 (SIDE, SIDE, 3)."""
    rows, cols = np.mgrid[:SIDE, :SIDE]
    out = np.full((SIDE, SIDE, 3), 243, np.uint8)
    tissue = np.hypot(rows - SIDE / 2, cols - SIDE / 2) < SIDE * 0.4
    out[tissue] = (214, 150, 190)
    out[tissue & (np.sin(rows / 5) * np.sin(cols / 6) > 0.6)] = (92, 62, 138)
    return out


def write_sources(folder: Path) -> list[Path]:
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
    return sorted(folder.iterdir())


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A few changes: numbers in directories, bytes anywhere, pieces lost, or the end cut off."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.choice(["number", "number", "number", "tag", "byte", "piece", "cut"])
        fields = list(_fields(data))
        if kind == "number" and fields:
            at, size = fields[int(rng.integers(len(fields)))]
            value = int(rng.choice(EXTREME)) if rng.random() < 0.7 else int(rng.integers(0, 70_000))
            out[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
        elif kind == "tag" and fields:
            at, _ = fields[int(rng.integers(len(fields)))]
            out[at - 8 : at - 6] = int(rng.integers(254, 350)).to_bytes(2, "little")
        elif kind == "byte":
            out[int(rng.integers(len(out)))] = int(rng.integers(256))
        elif kind == "piece":
            at, length = int(rng.integers(len(out))), int(rng.integers(1, 400))
            out[at : at + length] = bytes(len(out[at : at + length]))
        elif kind == "cut" and rng.random() < 0.3:
            del out[int(rng.integers(len(out) // 2, len(out))) :]
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int]]:
    """Place and size of every count and value in the directories of a little-endian TIFF."""
    offset, seen = int.from_bytes(data[4:8], "little"), set()
    while 0 < offset < len(data) - 2 and offset not in seen:
        seen.add(offset)
        count = int.from_bytes(data[offset : offset + 2], "little")
        for entry in range(min(count, 60)):
            at = offset + 2 + 12 * entry
            yield at + 8, 2 if data[at + 2 : at + 4] == b"\3\0" else 4
            yield at + 4, 4
        following = offset + 2 + 12 * count
        offset = int.from_bytes(data[following : following + 4], "little")


def look_at(path: Path) -> dict[str, Any]:
    """Open a slide and read what a run reads first: its overview, and a region at 1 um."""
    from wsi_necrosis.geometry import Box, Mpp
    from wsi_necrosis.slides.overview import read_overview
    from wsi_necrosis.slides.slide import open_slide
    from wsi_necrosis.tiling.tissue import find_tissue

    with open_slide(path) as slide:
        overview = read_overview(slide, 4.0)
        find_tissue(overview)
        region = slide.read(Box(200, 200, 256, 256), Mpp(1, 1))
        doubt = [each.code for each in slide.info.warnings]
        doubt += ["unreadable"] * bool(overview.unreadable.any() or region.unreadable)
        doubt += ["not_scanned"] * (overview.not_scanned is not None)
        return {
            "size": list(slide.info.size_l0),
            "mpp": str(slide.info.mpp),
            "mean": [float(overview.rgb.mean()), float(region.rgb.mean())],
            "sample": overview.rgb[::8, ::8].astype(int).tolist(),
            "doubt": doubt,
        }


def _child(pipe: Connection) -> None:
    """Look at slides, one after another, until the pipe is closed."""
    from wsi_necrosis.errors import WsiNecrosisError

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    look_at_first = pipe.recv()
    look_at(Path(look_at_first))  # imports count neither as time nor as memory
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))
    pipe.send("ready")
    while True:
        try:
            path = pipe.recv()
        except EOFError:
            return
        try:
            found: tuple[str, Any] = "read", look_at(Path(path))
        except WsiNecrosisError as error:
            found = "refused", str(error)
        except MemoryError:
            found = "memory", traceback.format_exc()[-300:]
        except Exception:  # noqa: BLE001  (that nothing else comes is what is tried)
            found = "traceback", traceback.format_exc()[-600:]
        pipe.send(found)


class Looker:
    """A child process that looks at slides; one that is silent or dead is replaced."""

    def __init__(self, warm: Path) -> None:
        self._warm = warm
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.send(str(self._warm))
        self._pipe.recv()

    def look(self, path: Path) -> tuple[str, Any, float]:
        """What the child found, and in how many seconds."""
        begun = time.monotonic()
        self._pipe.send(str(path))
        try:
            if self._pipe.poll(SECONDS):
                kind, found = self._pipe.recv()
                return kind, found, time.monotonic() - begun
            kind, found = "time", f"no answer in {SECONDS:g} s"
        except (EOFError, OSError):
            self._process.join()
            kind, found = "abort", f"the process ended with code {self._process.exitcode}"
        self.close()
        self._start()
        return kind, found, time.monotonic() - begun

    def close(self) -> None:
        """End the child."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _in_coded_pixels(source: Path, path: Path) -> bool:
    """Whether a file differs from its source in coded pixels, and in nothing that can be told."""
    one, other = (np.frombuffer(each.read_bytes(), np.uint8) for each in (source, path))
    if len(one) != len(other):
        return False
    free = one != other
    with tifffile.TiffFile(source) as tiff:
        for page in (each for first in tiff.pages for each in (first, *(first.pages or ()))):
            for offset, length in zip(page.dataoffsets, page.databytecounts, strict=True):
                free[offset : offset + length] = False
    with tifffile.TiffFile(source) as before, tifffile.TiffFile(path) as after:
        same = all(
            page.dataoffsets == again.dataoffsets
            and page.shape == again.shape
            and page.keyframe.hash == again.keyframe.hash
            for page, again in zip(before.pages, after.pages, strict=True)
        )
    return same or not free.any()


def judged(kind: str, found: Any, seconds: float, before: list[dict[str, Any]]) -> Outcome:
    """Compare what was read with what the files held before; they show one picture, with and without a second level."""
    if kind != "read":
        return Outcome(kind, str(found)[:600], seconds)
    if any(_same(found, each) for each in before):
        return Outcome("same", seconds=seconds)
    said = f"{found['size']} {found['mpp']} {found['mean']} {found['doubt']}"
    return Outcome("warned" if found["doubt"] else "other", said, seconds)


def _same(found: dict[str, Any], before: dict[str, Any]) -> bool:
    if (found["size"], found["mpp"]) != (before["size"], before["mpp"]):
        return False
    sample = np.array(found["sample"]) - np.array(before["sample"])
    return bool(np.abs(sample).max() <= 2 and np.allclose(found["mean"], before["mean"], atol=0.5))


def fuzz(folder: Path, slides: int, seed: int, keep: Path | None = None) -> list[tuple[str, Outcome]]:
    """Mutate and look at so many slides; names and outcomes in order. Faults and other pixels are kept in `keep`."""
    sources = write_sources(folder / "sources")
    looker = Looker(sources[0])
    try:
        before = {path: looker.look(path)[1] for path in sources}
        found = []
        for at in range(slides):
            rng = np.random.default_rng([seed, at])
            source = sources[at % len(sources)]
            path = folder / f"{at:05d}{''.join(source.suffixes)}"
            path.write_bytes(mutated(source.read_bytes(), rng))
            outcome = judged(*looker.look(path), list(before.values()))
            if outcome.kind == "other" and _in_coded_pixels(source, path):
                outcome = replace(outcome, kind="coded")
            found.append((path.name, outcome))
            if keep is not None and outcome.kind in {*FAULTS, "other"}:
                keep.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, keep)
            path.unlink()
    finally:
        looker.close()
    return found


def main() -> int:
    """Print what was not as it should be, then the counts."""
    options = argparse.ArgumentParser()
    options.add_argument("--slides", type=int, default=1000)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--keep", type=Path)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), asked.slides, asked.seed, asked.keep)
    for name, outcome in found:
        if outcome.kind in {*FAULTS, "other"}:
            sys.stdout.write(f"{name}: {outcome.kind}, {outcome.said}\n")
    counts = Counter(outcome.kind for _, outcome in found)
    slowest = max(outcome.seconds for _, outcome in found)
    sys.stdout.write(json.dumps({**counts, "slowest_s": round(slowest, 1)}) + "\n")
    return int(any(counts[kind] for kind in FAULTS))


if __name__ == "__main__":
    sys.exit(main())
