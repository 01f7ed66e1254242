"""How this process uses memory.

glibc hands large blocks back to the system and takes them again page by page, and gives each thread a
heap of its own that it cuts back. For a small network that means 80,000 page faults a batch and half
the speed. One heap that keeps what it has costs nothing but the memory of the largest moment.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT_BYTES = 1 << 30
OLD_LIMIT_BYTES = 1 << 25  # the most that glibc before 2.35 takes
# The same for processes that are still to be started; Dask's workers would otherwise trim eagerly.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_ARENA_MAX": "1",
}


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory in one heap; for the whole process, and safe to repeat.

    It serves threads that start after it. Elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        if not mallopt(M_MMAP_THRESHOLD, KEPT_BYTES):
            mallopt(M_MMAP_THRESHOLD, OLD_LIMIT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(M_ARENA_MAX, 1)


def this_process() -> str:
    """A name that no other process has, on this machine or another."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_memory_mb() -> int:
    """Largest resident memory of this process until now, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 if sys.platform.startswith("linux") else 1024**2)  # macOS counts bytes
