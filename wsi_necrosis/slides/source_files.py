"""The files of an open slide: whether they can be read, and whether they are what they were when it was opened.

Decoders do not tell an error of the system from damage in a file. The one may pass, the other is a fact, so that
the files themselves are asked after an error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wsi_necrosis.errors import ReadError, SlideChangedError
from wsi_necrosis.names import too_long
from wsi_necrosis.slides.fingerprint import slide_fingerprint

MOST_FILES = 100  # looked at again and again; only slides that store each tile as a file have more
PROBE_BYTES = 4096  # read at either end of a file


@dataclass(frozen=True)
class FileStamp:
    """A file, its size in bytes, and the time of its last change in nanoseconds."""

    path: Path
    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file; raises OSError."""
        found = path.stat()
        return cls(path, found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class SourceFiles:
    """The files of a slide as they were at one time."""

    stamps: tuple[FileStamp, ...]

    @classmethod
    def of(cls, files: Iterable[Path]) -> Self:
        """Look at the files of a slide.

        Raises
        ------
        ReadError
            One of them cannot be looked at.
        """
        try:
            return cls(tuple(FileStamp.of(file) for file in files))
        except OSError as error:
            raise read_error(error) from error

    def require_readable(self) -> None:
        """Ask the system for the files, after a decoder has failed; the first `MOST_FILES` of them.

        Raises
        ------
        ReadError
            One is shorter than it was, or reading it at its ends fails.
        """
        for stamp in self.stamps[:MOST_FILES]:
            try:
                size = FileStamp.of(stamp.path).size
                _read_ends(stamp.path, size)
            except OSError as error:
                raise read_error(error, stamp.path) from error
            if size < stamp.size:
                raise ReadError(
                    f"{stamp.path} was cut from {stamp.size} to {size} bytes while it was read; copy it again"
                )

    def require_unchanged(self) -> None:
        """Compare size and time of the first `MOST_FILES` files with what they were.

        Raises
        ------
        SlideChangedError
            One has changed.
        ReadError
            One cannot be looked at.
        """
        _require_equal(self.stamps[:MOST_FILES])

    def require_same(self, fingerprint: str) -> None:
        """Compare size and time of all files, and the slide's fingerprint; errors as `require_unchanged`."""
        _require_equal(self.stamps)
        if slide_fingerprint([stamp.path for stamp in self.stamps]) != fingerprint:
            raise _changed(self.stamps[0].path, "its content is another one")


def system_error(error: BaseException | None) -> OSError | None:
    """The error of the system that an error came of; None for a decoder's, which has no number."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def read_error(error: OSError, path: Path | None = None) -> ReadError:
    """The error of the system, as an error that names the file."""
    if error.errno == errno.ENAMETOOLONG:
        return ReadError(too_long(path or error.filename))
    if error.errno == errno.ENOENT:
        return ReadError(
            f"{path or error.filename} is not there any more ({error.strerror}); it was moved or deleted, or its disk "
            "is gone: put it back and run the same command again"
        )
    return ReadError(
        f"{path or error.filename} cannot be read ({error.strerror or error}); check its disk or share and run the "
        "same command again"
    )


def raise_if_of_the_system(error: BaseException, path: Path) -> None:
    """Raise a ReadError where an error of the system was the cause, and nothing where a decoder found damage."""
    cause = system_error(error)
    if cause is not None:
        raise read_error(cause, path) from error


def _read_ends(path: Path, size: int) -> None:
    with path.open("rb", buffering=0) as stream:
        stream.read(PROBE_BYTES)
        stream.seek(max(0, size - PROBE_BYTES), os.SEEK_SET)
        stream.read(PROBE_BYTES)


def _require_equal(stamps: Sequence[FileStamp]) -> None:
    for stamp in stamps:
        try:
            now = FileStamp.of(stamp.path)
        except OSError as error:
            raise read_error(error) from error
        if now.size != stamp.size:
            raise _changed(stamp.path, f"from {stamp.size} to {now.size} bytes")
        if now != stamp:
            raise _changed(stamp.path, "it was written again")


def _changed(path: Path, how: str) -> SlideChangedError:
    return SlideChangedError(
        f"{path} changed while it was scored ({how}); nothing is published. Once nobody writes to it, run the same "
        "command again; if it is another slide now, give --overwrite"
    )
