"""Pictures as a source describes them, and the checks that turn them into labelled tiles."""

from __future__ import annotations

import hashlib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi_necrosis.dataset.cases import refuse_two_spellings
from wsi_necrosis.dataset.faults import refuse
from wsi_necrosis.dataset.labels import KNOWN, MIXED_LABEL, Truth, truth_of
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.errors import DatasetError
from wsi_necrosis.settings.train import TileDataSettings

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """A picture as its source describes it; unchecked, except that numbers are parsed.

    Attributes
    ----------
    name : str
        Its name in the source, for messages.
    path : Path
        The picture.
    label, case : str
        As written in the source.
    slide : str
        Empty where the source names none.
    x_l0, y_l0 : int
        Position on its slide in level-0 pixels.
    mpp : float or None
        Size of its pixels in um, if the source gives one.
    sha256 : str
        Hash of the file as the source gives it, or empty.
    """

    name: str
    path: Path
    label: str
    case: str
    slide: str = ""
    x_l0: int = 0
    y_l0: int = 0
    mpp: float | None = None
    sha256: str = ""


def pictures_below(folder: Path) -> tuple[Path, ...]:
    """Pictures anywhere below a folder, sorted, without hidden files."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    # broken links are kept, so that a picture that was not fetched is reported as missing
    return tuple(sorted(path for path in found if not path.is_dir() and not path.name.startswith(".")))


def settle(entries: Sequence[Entry], source: Path, settings: TileDataSettings) -> tuple[LabelledTile, ...]:
    """Labelled tiles of checked entries, in their order.

    Parameters
    ----------
    entries : sequence of Entry
        Pictures as the source describes them.
    source : Path
        The table or folder, for messages.
    settings : TileDataSettings
        `mpp_um` stands in for a missing pixel size; `mixed` says how mixed tiles are used. Those left
        out are not checked further.

    Raises
    ------
    DatasetError
        There are no tiles, a label is unknown, a case is written in two ways, or a picture has no case or no pixel
        size, is listed twice, is missing, cannot be read, or does not have the hash that the source gives. All faults
        of one kind are listed.
    """
    kept = _with_truth(entries, source, settings)
    only_entries = [entry for entry, _ in kept]
    _check(only_entries, source)
    sizes = _sizes(only_entries, source, settings.mpp_um)
    hashes = _hashes(only_entries, source)
    return tuple(
        LabelledTile(
            entry.path, truth, entry.case, entry.slide or entry.case, entry.x_l0, entry.y_l0, mpp, sha256
        )
        for (entry, truth), mpp, sha256 in zip(kept, sizes, hashes, strict=True)
    )


def _with_truth(
    entries: Sequence[Entry], source: Path, settings: TileDataSettings
) -> list[tuple[Entry, Truth]]:
    unknown = {entry.label for entry in entries} - set(KNOWN)
    refuse(unknown, f"{source} has unknown labels", f"known are {', '.join(map(repr, KNOWN))}")
    truths = [(entry, truth_of(entry.label, settings.mixed)) for entry in entries]
    kept = [(entry, truth) for entry, truth in truths if truth is not None]
    if len(kept) < len(entries):
        left_out, all_of_them = len(entries) - len(kept), len(entries)
        log.info("%d of %d tiles are labelled %r and left out", left_out, all_of_them, MIXED_LABEL)
    if not kept:
        raise DatasetError(f"{source} gives no tiles to train on; docs/training.md says what it may hold")
    return kept


def _check(entries: Sequence[Entry], source: Path) -> None:
    caseless = (entry.name for entry in entries if not entry.case)
    refuse(caseless, f"{source} names no case for", "splits are by case")
    refuse_two_spellings((entry.case for entry in entries), source)
    times = Counter(os.path.normpath(entry.path) for entry in entries)
    twice = {entry.name for entry in entries if times[os.path.normpath(entry.path)] > 1}
    refuse(twice, f"{source} lists more than once", "keep one row each")
    absent = (entry.name for entry in entries if not entry.path.is_file())
    refuse(absent, f"{source} names pictures that are not there:", "fetch the data again")


def _sizes(entries: Iterable[Entry], source: Path, mpp_um: float | None) -> list[float]:
    """Pixel size of every picture in um."""
    sizes = [(entry.name, entry.mpp or mpp_um) for entry in entries]
    unsized = (name for name, size in sizes if size is None)
    refuse(
        unsized,
        f"{source} has a missing pixel size for",
        "give a column mpp in um per pixel, or one for all: --set data.mpp_um=NUMBER (evaluate: --mpp NUMBER)",
    )
    return [size for _, size in sizes if size is not None]


def _hashes(entries: Iterable[Entry], source: Path) -> list[str]:
    """SHA-256 of every picture, compared with that of the source."""
    hashes: list[str] = []
    unreadable, changed = [], []
    for entry in entries:
        try:
            with entry.path.open("rb") as stream:
                hashes.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError:
            unreadable.append(entry.name)
            continue
        if entry.sha256 and entry.sha256.lower() != hashes[-1]:
            changed.append(entry.name)
    refuse(unreadable, f"{source} names pictures that cannot be read:", "check their permissions")
    refuse(changed, f"{source} gives another sha256 than the file has for", "fetch the data again")
    return hashes
