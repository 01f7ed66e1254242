"""A pool that runs its jobs in the calling process."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any


class Inline(Executor):
    """Runs each job at once, in this process; takes the arguments of a `ProcessPoolExecutor`."""

    def __init__(self, *_: object) -> None:
        self.jobs = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.jobs += 1
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done
