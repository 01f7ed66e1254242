"""Memory of this process: keep freed memory for reuse, and report the peak.

By default glibc returns freed large blocks to the system and takes new ones page by page, and gives each
thread a heap of its own, which it trims. For a small network that means 80,000 page faults per batch and half
the speed. One heap that keeps freed memory avoids this; the process then holds its peak memory until it ends.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h
KEPT_BYTES = 1 << 30
OLD_LIMIT_BYTES = 1 << 25  # largest threshold that glibc before 2.35 accepts
# The same settings for processes started later; Dask by default sets a low trim threshold for its workers.
ENVIRONMENT = {
    "MALLOC_TRIM_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_MMAP_THRESHOLD_": str(KEPT_BYTES),
    "MALLOC_ARENA_MAX": "1",
}


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory in one heap; for the whole process, and safe to repeat.

    It takes effect for threads that start afterwards. Without glibc nothing happens.
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
    """Host name and process id, which together no other process has."""
    return f"{socket.gethostname()}:{os.getpid()}"


def peak_memory_mb() -> int:
    """Largest resident memory of this process until now, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1024 if sys.platform.startswith("linux") else 1024**2)  # macOS counts bytes
