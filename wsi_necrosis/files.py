"""Atomic writes: a file or folder is written under a temporary name beside its path, brought to disk, then renamed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import threading
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import StoreError
from wsi_necrosis.names import MOST_BYTES, shortened, too_long

SYNCED_AT_ONCE = 16  # files
UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP}  # answers of file systems that have no such thing for a folder


@contextmanager
def atomic_write(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a free path beside `path`, and rename what was written there to `path` at the end.

    Parameters
    ----------
    path : Path
        A file or a folder; one that exists is replaced, its parent must exist.
    durable : bool
        Bring what was written to disk before it is renamed, so that `path` holds the old content or the new one, whole,
        even after a power cut. Not needed in a folder that `Claim.publish` will bring to disk.

    Raises
    ------
    StoreError
        Writing failed, for instance because the disk is full. The temporary file is removed.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    remove(partial)
    try:
        yield partial
        if durable:
            sync_tree(partial)
        _swap(partial, path)
        if durable:
            sync(path.parent)
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
        A file is in the way, permission is missing, or the name is too long.
    """
    n_bytes = len(os.fsencode(folder.name))
    if n_bytes > MOST_BYTES:
        raise StoreError(
            f"{shortened(folder)} cannot be written: its name has {n_bytes} bytes, of at most {MOST_BYTES}; choose "
            "another with -o"
        )
    try:
        nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    except OSError as error:  # a path that is too long
        raise StoreError(too_long(folder)) from error
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise StoreError(
            f"{folder} cannot be written, as {nearest} is no writable folder; choose another with -o"
        )


def others_may_write(path: Path) -> bool:
    """Whether another user may change what lies at a path: write to it, or to a folder above it; root does not count.

    A group of the user's own, as many systems give each user, does not count either, nor do folders like /tmp, in which
    nobody may rename what is another's. False on Windows, whose permissions are others.
    """
    if not hasattr(os, "getuid"):
        return False
    whole = path.resolve()
    return any(_open_to_others(place.stat()) for place in (whole, *whole.parents) if place.exists())


def _open_to_others(found: os.stat_result) -> bool:
    by_all = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    by_group = found.st_mode & stat.S_IWGRP and found.st_gid not in {0, _own_group()}
    return bool(by_all or by_group or found.st_uid not in {0, os.getuid()})


def _own_group() -> int | None:
    """The group that this user is alone in: it bears the user's name and lists nobody else."""
    import grp  # not on Windows
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
        group = grp.getgrnam(user)
    except KeyError:  # a user or group without a name, as in containers
        return None
    return None if set(group.gr_mem) - {user} else group.gr_gid


def write_text(path: Path, text: str, encoding: str = "utf-8", *, durable: bool = True) -> None:
    """Write a text file; one that exists is replaced. `durable` as for `atomic_write`.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    with atomic_write(path, durable=durable) as partial:
        partial.write_text(text, encoding=encoding)


def write_json(path: Path, facts: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write facts as indented JSON; numbers must be finite. `durable` as for `atomic_write`.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    write_text(path, json.dumps(facts, indent=2, allow_nan=False) + "\n", durable=durable)


def checksum(folder: Path, *, without: str = "") -> str:
    """CRC-32 of the names and contents of all files in a folder, in hexadecimal; the file `without` does not count."""
    crc = 0
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != without:
            crc = zlib.crc32(path.read_bytes(), zlib.crc32(name.encode(), crc))
    return f"{crc:08x}"


def remove_leftovers(folder: Path, *, older_than_s: float = 0) -> None:
    """Delete what killed processes left half-written in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    older_than_s : float
        Age in seconds of what is deleted; 0 where nobody else writes to the folder.
    """
    for leftover in (*folder.glob(".*.partial"), *folder.glob(".*.old")):
        with suppress(FileNotFoundError):
            if not older_than_s or time.time() - leftover.lstat().st_mtime > older_than_s:
                remove(leftover)


def sync(path: Path) -> None:
    """Bring a file's content, or the names in a folder, to disk.

    File systems that cannot do so for folders are left to themselves.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    finally:
        os.close(handle)


def sync_tree(path: Path) -> None:
    """Bring a file, or a folder with all that it holds, to disk; many at a time, which the file system can join."""
    if not path.is_dir():
        sync(path)
        return
    with ThreadPoolExecutor(SYNCED_AT_ONCE) as pool:
        list(pool.map(sync, [*path.rglob("*"), path]))


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
        with suppress(NotADirectoryError):  # a file where its folder should be
            path.unlink(missing_ok=True)
