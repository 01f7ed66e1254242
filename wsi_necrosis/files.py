"""Atomic writes: a file or folder is written under a temporary name beside its path, then renamed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import StoreError


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a free path beside `path`, and rename what was written there to `path` at the end.

    Parameters
    ----------
    path : Path
        A file or a folder; one that exists is replaced, its parent must exist.

    Raises
    ------
    StoreError
        Writing failed, for instance because the disk is full. The temporary file is removed.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    remove(partial)
    try:
        yield partial
        _swap(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{path} cannot be written ({reason}); check space and permissions, then run again"
        ) from error
    finally:
        remove(partial)


def require_writable(folder: Path) -> None:
    """Refuse a folder that could not be made or written to; nothing is created.

    Raises
    ------
    StoreError
        A file is in the way, or permission is missing.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise StoreError(
            f"{folder} cannot be written, as {nearest} is no writable folder; choose another with -o"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder for this process, and delete temporary files that killed processes left in it.

    Raises
    ------
    StoreError
        Another process works on it, or it cannot be made.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = lock.open("w")
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}); choose another with -o") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"another run works on {folder}; wait for it, or choose another with -o"
            ) from None
        for leftover in (*folder.glob(".*.partial"), *folder.glob(".*.old")):
            remove(leftover)
        yield
        lock.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; one that exists is replaced.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as indented JSON; numbers must be finite.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    write_text(path, json.dumps(facts, indent=2, allow_nan=False) + "\n")


def checksum(folder: Path, *, without: str = "") -> str:
    """CRC-32 of the names and contents of all files in a folder, in hexadecimal; the file `without` does not count."""
    crc = 0
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != without:
            crc = zlib.crc32(path.read_bytes(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def _swap(partial: Path, path: Path) -> None:
    """Rename over `path`; an existing folder is renamed first, since only files can be replaced in one step."""
    if not path.is_dir() or path.is_symlink():
        partial.replace(path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    remove(aside)
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    remove(aside)


def remove(path: Path) -> None:
    """Delete a file or a folder; one that is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
