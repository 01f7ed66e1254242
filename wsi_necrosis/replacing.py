"""Write beside, then rename: a file or folder is there as a whole, or as it was before."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import StoreError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a free path beside `path`, and rename what was written there to `path` at the end.

    Parameters
    ----------
    path : Path
        A file or a folder; one that exists is replaced, its parent must exist.

    Raises
    ------
    StoreError
        The disk refused, for instance because it is full. Nothing is left beside.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.partial")
    _remove(partial)
    try:
        yield partial
        _swap(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{path} cannot be written ({reason}); check space and permissions, then run again"
        ) from error
    finally:
        _remove(partial)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8; one that exists is replaced.

    Raises
    ------
    StoreError
        The disk refused.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as indented JSON; numbers must be finite.

    Raises
    ------
    StoreError
        The disk refused.
    """
    write_text(path, json.dumps(facts, indent=2, allow_nan=False) + "\n")


def _swap(partial: Path, path: Path) -> None:
    """Rename over `path`; a folder in the way steps aside first, since only files are replaced at once."""
    if not path.is_dir() or path.is_symlink():
        partial.replace(path)
        return
    aside = path.with_name(f".{path.name}.{os.getpid()}.old")
    _remove(aside)
    path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        aside.rename(path)
        raise
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
