"""A pool of processes that starts none."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any


class Inline(Executor):
    """A pool that works in this process; started with the arguments of a `ProcessPoolExecutor`."""

    def __init__(self, *_: object) -> None:
        self.jobs = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
