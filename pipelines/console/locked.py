"""End a command whose threads all wait for one that never gives Python's interpreter lock back."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

LOOKS = 10  # in the time of the limit
STDERR = 2  # by its number, since nothing of Python runs any more


@contextmanager
def ending_when_locked(limit_s: float) -> Iterator[None]:
    """End the process with exit code 1 once no other thread has run for `limit_s`; 0 is no limit.

    A thread that decodes without ever giving the lock back lets no other one run: not the one that keeps the time limit
    of blocks, nor the one that would end at Ctrl-C. What is left is a timer of the system that has to be wound up again
    and again. It prints where each thread is. Finished blocks are on disk.
    """
    if not limit_s:
        yield
        return
    ended = Event()

    def wind_up() -> None:
        while not ended.is_set():
            faulthandler.dump_traceback_later(limit_s, exit=True, file=STDERR)
            ended.wait(limit_s / LOOKS)

    thread = Thread(target=wind_up, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()
