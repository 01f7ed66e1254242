"""A list of the files of a finished folder with size, time and SHA-256, so that damage to any of them is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.files import write_json


def write_file_list(path: Path, without: str) -> None:
    """List the files of the folder that `path` is in.

    Parameters
    ----------
    path : Path
        The list; it is not in itself.
    without : str
        A file of the folder that may change afterwards.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    files = {name: _facts(file) for name, file in _files(path.parent, {path.name, without})}
    write_json(path, {"files": files}, durable=False)


def note_files(path: Path, names: Iterable[str]) -> None:
    """List some files or folders anew, as they are now; a list that is damaged stays as it is.

    Parameters
    ----------
    path : Path
        The list, in the folder that it lists.
    names : iterable of str
        In that folder; those that are not there are listed no more.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    try:
        listed: dict[str, Any] = dict(json.loads(path.read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    changed = set(names)
    kept = {name: facts for name, facts in listed.items() if name.split("/")[0] not in changed}
    there = ((name, file) for name, file in _files(path.parent, set()) if name.split("/")[0] in changed)
    found = {**kept, **{name: _facts(file) for name, file in there}}
    write_json(path, {"files": dict(sorted(found.items()))}, durable=False)


def changed_files(path: Path, *, thorough: bool = False) -> list[str] | None:
    """Files that differ from what a list says, each with what is wrong; None where there is no readable list.

    Parameters
    ----------
    path : Path
        The list, in the folder that it lists.
    thorough : bool
        Read every file. Otherwise only those are read whose time differs, as in a copy of the folder: for a slide of
        a thousand files this takes some milliseconds.
    """
    try:
        listed: dict[str, dict[str, Any]] = dict(json.loads(path.read_text(encoding="utf-8"))["files"])
        faults = [_fault(path.parent / name, facts, thorough=thorough) for name, facts in listed.items()]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    found = [f"{name} {fault}" for name, fault in zip(listed, faults, strict=True) if fault]
    if thorough:
        inside = {
            name for name, _ in _files(path.parent, set()) if "/" in name
        }  # a reader of arrays would take them for its own
        found += [f"{name} was not there" for name in sorted(inside - set(listed))]
    return found


def _facts(file: Path) -> dict[str, Any]:
    status = file.stat()
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": _sha256(file)}


def _fault(path: Path, facts: Mapping[str, Any], *, thorough: bool) -> str:
    try:
        status = path.stat()
        if status.st_size != facts["bytes"]:
            return f"has {status.st_size} bytes, not {facts['bytes']}"
        if (thorough or status.st_mtime_ns != facts["mtime_ns"]) and _sha256(path) != facts["sha256"]:
            return "has another content"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return ""


def _files(folder: Path, without: set[str]) -> Iterator[tuple[str, Path]]:
    """Files below a folder, with their names relative to it."""
    for place, below, names in os.walk(folder):
        below.sort()
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if relative not in without:
                yield relative, path


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
