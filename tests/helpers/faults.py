"""Errors of the system when a file is read."""

from __future__ import annotations

import errno
import os
import threading

import pytest


class FailingReads:
    """Reads by position that fail as those of a broken share do: `left` of them, after `after` that do not."""

    def __init__(
        self, patch: pytest.MonkeyPatch, left: float, after: int = 0, number: int = errno.EIO
    ) -> None:
        self.left, self.after, self.number = left, after, number
        self._lock, self._read = threading.Lock(), os.pread
        patch.setattr(os, "pread", self)

    def __call__(self, file: int, length: int, offset: int) -> bytes:
        with self._lock:
            if self.after > 0:
                self.after -= 1
            elif self.left > 0:
                self.left -= 1
                raise OSError(self.number, os.strerror(self.number))
        return self._read(file, length, offset)
