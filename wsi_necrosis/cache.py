"""A cache of files that are costly to make, in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write, others_may_write, remove, sync_tree, write_json

VARIABLE = "WSI_NECROSIS_CACHE"  # environment variable that names another cache folder
SEAL = "files.json"  # SHA-256 of every other file of a cached folder; written last
DIGEST = re.compile("[0-9a-f]{8,64}")  # no name of a file, which could lead out of the cache
log = logging.getLogger(__name__)


def cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Path of the cache: WSI_NECROSIS_CACHE, or `wsi-necrosis` in XDG_CACHE_HOME or in ~/.cache."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    parent = environment.get("XDG_CACHE_HOME")
    return (Path(parent) if parent else Path.home() / ".cache") / "wsi-necrosis"


@contextmanager
def cached_folder(key: str, make: Callable[[Path], None]) -> Iterator[Path]:
    """A folder of files that are made on the first call and found on later ones.

    Several processes may call this at once; each finds no folder or a complete one. A folder whose files have
    changed since they were written is made again: that finds damage. It is no defence against who may write to the
    cache, so that a cache that other users may write to is not used, and who takes files from it compares what they
    do. Where the cache cannot be used, a temporary folder is made.

    Parameters
    ----------
    key : str
        Name of the folder, a hexadecimal digest; it must differ wherever the files would differ.
    make : callable
        Writes the files into an empty folder, which exists.

    Yields
    ------
    Path
        The folder, to be read inside the context only.
    """
    if not DIGEST.fullmatch(key):
        raise ValueError(f"{key!r} is no digest")
    folder = cache_folder() / key
    reason = _why_not(folder, make)
    if reason is None:
        yield folder
        return
    log.warning("%s, so that this is made for this run alone", reason)
    with TemporaryDirectory() as temporary:
        _fill(Path(temporary) / key, make)
        yield Path(temporary) / key


def forget(key: str) -> None:
    """Delete a folder of the cache, as what lies in it is not what was made."""
    remove(cache_folder() / key)


def _why_not(folder: Path, make: Callable[[Path], None]) -> str | None:
    """Make the folder where it is not whole; why it cannot be used, or None."""
    for place in (folder.parent, folder):
        if others_may_write(place):
            mend = f"take that right away (chmod go-w) or set {VARIABLE} to a folder of your own"
            return f"other users may write to the cache {place}, which is not used; {mend}"
    if _is_whole(folder):
        return None
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _put(folder, make)
    except (OSError, StoreError) as error:
        if not _is_whole(folder):  # else another process was quicker
            return f"{error}; set {VARIABLE} to a writable folder"
    return None


def _put(folder: Path, make: Callable[[Path], None]) -> None:
    """Make the folder under a temporary name and rename it, unless another process has made it meanwhile."""
    with suppress(_AlreadyMadeError), atomic_write(folder, durable=False) as partial:
        _fill(partial, make)
        sync_tree(partial)  # takes a while, so that it comes before others are looked for
        if _is_whole(folder):  # another process may be reading it, so it is not replaced
            raise _AlreadyMadeError


class _AlreadyMadeError(Exception):
    """Another process has made the folder meanwhile."""


def _fill(folder: Path, make: Callable[[Path], None]) -> None:
    folder.mkdir(mode=0o700)
    make(folder)
    write_json(folder / SEAL, _hashes(folder), durable=False)


def _is_whole(folder: Path) -> bool:
    """Whether all files are there and unchanged since they were written."""
    try:
        sealed = json.loads((folder / SEAL).read_text(encoding="utf-8"))
        whole = bool(sealed == _hashes(folder))
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read (%s) and is made again", folder, error)
        return False
    if not whole:
        log.warning("%s is damaged and is made again", folder)
    return whole


def _hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file except `SEAL`, by name."""
    files = sorted(path for path in folder.iterdir() if path.name != SEAL)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
