"""A time limit for each block: which blocks exceed it, and the end of the worker processes that they hang in.

The client keeps it, since a decoder that never returns may keep its worker from doing anything at all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING

from distributed import Client

from wsi_necrosis.inference.pool import GONE

if TYPE_CHECKING:
    from distributed import Future, Scheduler

LOOKS = 10  # in the time of the limit
MOST_BETWEEN_LOOKS_S = 5.0
# Workers send a sign of life every half second, on clusters of thousands every some ten seconds.
UNHEARD_S = 60.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Heard:
    """What the scheduler has heard of a worker.

    Attributes
    ----------
    has_nanny : bool
        Whether a nanny can end the worker's process and start another.
    sign_of_life : float
        Time of the last sign of life, on the scheduler's clock.
    running, held : frozenset of str
        Keys of the tasks that ran then, and of those that it runs or keeps waiting.
    """

    has_nanny: bool
    sign_of_life: float
    running: frozenset[str]
    held: frozenset[str]


@dataclass(frozen=True)
class Overdue:
    """A task that has run for longer than the limit, its worker, and whether that can be ended."""

    key: str
    worker: str
    can_be_ended: bool


@dataclass
class Stopwatch:
    """For how long each task has run, on the client's own clock, which does not count a machine's sleep.

    A task that waits on a worker does not count. A worker that the scheduler hears nothing of may be kept by a decoder
    from saying what it runs; after `unheard_s` it counts as running all that it holds.
    """

    limit_s: float
    unheard_s: float = UNHEARD_S
    _since: Mapping[tuple[str, str], float] = field(default_factory=dict)
    _heard: Mapping[str, tuple[float, float]] = field(
        default_factory=dict
    )  # sign of life, and when it was noticed

    def overdue(self, workers: Mapping[str, Heard], keys: Collection[str], now_s: float) -> list[Overdue]:
        """Those of the tasks `keys` that have run for longer than the limit, by what was heard until `now_s`."""
        since, heard = dict[tuple[str, str], float](), dict[str, tuple[float, float]]()
        for address, worker in workers.items():
            before = self._heard.get(address)
            is_new = before is None or before[0] != worker.sign_of_life
            heard[address] = (worker.sign_of_life, now_s) if is_new or before is None else before
            is_silent = now_s - heard[address][1] > self.unheard_s
            for key in worker.held & (worker.held if is_silent else worker.running) & set(keys):
                since[address, key] = self._since.get((address, key), now_s)
        self._since, self._heard = since, heard
        return [
            Overdue(key, address, workers[address].has_nanny)
            for (address, key), start_s in since.items()
            if now_s - start_s > self.limit_s
        ]


class TimeLimit:
    """Looks from time to time which tasks exceed the limit, and ends the processes of their workers.

    Such a task is cancelled first, so that Dask does not run it again elsewhere. Where a worker has no nanny, nothing
    is ended.

    Parameters
    ----------
    client : Client
        Of the workers.
    limit_s : float
        Seconds that a task may run; 0 is no limit.
    futures : callable
        Gives the futures that are waited for.
    """

    def __init__(self, client: Client, limit_s: float, futures: Callable[[], Iterable[Future]]) -> None:
        self.limit_s = limit_s
        self._client, self._futures = client, futures
        self._stopwatch = Stopwatch(limit_s, min(UNHEARD_S, limit_s))
        self._overdue: dict[str, Overdue] = {}
        self._ended = Event()

    def exceeded(self, key: str) -> Overdue | None:
        """What was found out about a task; None where it did not exceed the limit."""
        return self._overdue.get(key)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look from time to time while the context lasts, in a thread of its own."""
        if self.limit_s:
            Thread(target=self._watch, name="time limit of blocks", daemon=True).start()
        try:
            yield
        finally:
            self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(min(self.limit_s / LOOKS, MOST_BETWEEN_LOOKS_S)):
            try:
                self._look()
            except GONE as error:  # the scheduler is busy or gone; blocks notice the latter by themselves
                log.debug("running blocks could not be asked for: %s", error)

    def _look(self) -> None:
        futures = {future.key: future for future in self._futures()}
        found = self._stopwatch.overdue(heard_of_workers(self._client), futures.keys(), time.monotonic())
        if not found or self._ended.is_set():
            return
        self._overdue |= {each.key: each for each in found}
        self._client.cancel([futures[each.key] for each in found])
        stuck = sorted({each.worker for each in found if each.can_be_ended})
        if stuck:
            log.warning("the process of %s is ended, as a block hangs in it", ", ".join(stuck))
            self._client.restart_workers(stuck, raise_for_error=False)


def heard_of_workers(client: Client) -> dict[str, Heard]:
    """What the scheduler has heard of each worker, by address."""

    # Defined in here, it is sent as code: a scheduler need not have this package.
    def ask(dask_scheduler: Scheduler) -> dict[str, tuple[bool, float, list[str], list[str]]]:
        return {
            worker.address: (
                bool(worker.nanny),
                worker.last_seen,
                [task.key for task in worker.executing],
                [task.key for task in worker.processing],
            )
            for worker in dask_scheduler.workers.values()
        }

    return {
        address: Heard(has_nanny, sign_of_life, frozenset(running), frozenset(held))
        for address, (has_nanny, sign_of_life, running, held) in client.run_on_scheduler(ask).items()
    }
