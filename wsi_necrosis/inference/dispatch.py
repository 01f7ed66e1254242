"""Send the blocks of a slide to Dask workers a few at a time; blocks that fail, and workers that refuse or die."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Protocol

import numpy as np
from distributed import Client, Future, KilledWorker, as_completed
from numpy.typing import NDArray

from wsi_necrosis.errors import FailedBlocksError, WsiNecrosisError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.limit import Overdue, TimeLimit
from wsi_necrosis.inference.worker import BlockDone, BlockFailed, Refusal, score_block
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.tiling.grid import Block

BLOCKS_AHEAD = 2  # sent for each thread of the workers: one that runs and one that is queued
MOST_OVERDUE = 8  # blocks of a slide that hang: its disk or decoder is at fault, and a night has other slides
A_THREAD = "a thread cannot be ended"
TAKE_PROCESSES = "the same command with --set cluster.processes=true ends what hangs and goes on"
TAKE_NANNIES = "with workers that have a nanny (docs/cluster.md) the same command ends what hangs and goes on"
WORKER_LOST = "every worker that took it ended, also when it was alone: a crash, or out of memory"
# What a future raises that was cancelled, or whose scheduler is gone.
LOST = (concurrent.futures.CancelledError, asyncio.CancelledError, OSError, TimeoutError)
log = logging.getLogger(__name__)


class Workers(Protocol):
    """The workers that blocks are sent to: client, name of their plugin, threads by address, time limit of a block."""

    name: str
    block_limit_s: float

    @property
    def client(self) -> Client:
        """Dask's client of the workers."""

    def threads(self) -> Mapping[str, int]:
        """Number of threads by address of worker."""


@dataclass(frozen=True)
class PendingBlock:
    """A block to score, its mask pixels, whether workers died with it, and whether it could not be read."""

    block: Block
    px: NDArray[np.uint32]
    alone: bool = False
    failed: bool = False


@dataclass(frozen=True)
class Failure:
    """Why a block failed: one word, the error in words, and a way out other than to try again."""

    reason: str
    error: str
    way_out: str = ""


class BlockDispatcher:
    """The blocks of one job: those not sent yet, those sent, and those that failed or whose workers died.

    A block that the system failed to read is sent once more after all others. One that fails again stays failed, and
    ends the job with an error when the others are done.

    Dask runs the blocks of a dead worker again elsewhere, and gives up on those that were on too many dead workers.
    Another block on the same workers may have been the cause. Each is therefore sent once more when no other block of
    the job is running; if its workers die again, it stays failed.

    So is a block that exceeds the time limit, whose worker's process is ended, and one for which there was not enough
    memory. A thread of this process cannot be ended: the block has failed, and other threads do the rest.
    """

    def __init__(self, workers: Workers, job: Job, blocks: Iterator[PendingBlock], priority: int) -> None:
        self._workers, self._job, self._priority = workers, job, priority
        self._fresh, self._again, self._suspects = blocks, list[PendingBlock](), list[PendingBlock]()
        self._unread, self._given_up = list[PendingBlock](), dict[str, Failure]()
        self._sent: dict[Future, PendingBlock] = {}
        self._refused: dict[str, Exception] = {}
        self._limit = TimeLimit(workers.client, workers.block_limit_s, lambda: list(self._sent))
        self._hanging: set[str] = set()  # names of blocks that exceeded the limit and were not scored since
        self.stuck = 0  # threads that hang in a block and cannot be ended

    def results(self) -> Iterator[BlockDone]:
        """Blocks as they are done; more are sent as workers become free.

        Raises
        ------
        FailedBlocksError
            All others are done, and some have failed twice; or so many exceeded the time limit that the others were
            left.
        """
        done = as_completed(loop=self._workers.client.loop)
        with self._limit.watching():
            self._send(done)
            for future in done:
                pending = self._sent.pop(future)
                finished = self._settled(future, pending)
                if self._is_stuck():
                    break
                self._send(done)
                if finished is not None:
                    yield finished
        if self._given_up:
            raise self._failure()

    def cancel(self) -> None:
        """Cancel the blocks that have not begun."""
        self._workers.client.cancel(list(self._sent))

    def _send(self, done: Any) -> None:
        most = BLOCKS_AHEAD * max(1, sum(self._workers.threads().values()))
        while len(self._sent) < most and (pending := self._next()) is not None:
            future = self._workers.client.submit(
                score_block, self._workers.name, self._job, pending.block, pending.px,
                pure=False, priority=self._priority, **self._restriction(),
            )  # fmt: skip
            self._sent[future] = pending
            done.add(future)

    def _is_stuck(self) -> bool:
        """Whether no thread is left for other blocks."""
        return 0 < sum(self._workers.threads().values()) <= self.stuck

    def _is_doubtful(self) -> bool:
        """Whether so many blocks hang that they are tried again before others are sent."""
        return len(self._hanging) >= MOST_OVERDUE

    def _next(self) -> PendingBlock | None:
        if self._is_doubtful() and self._given_up:  # the others would hang as well
            return None
        if self._again:
            return self._again.pop()
        pending = None if self._is_doubtful() else next(self._fresh, None)
        if pending is None and self._unread:
            return self._unread.pop()
        if pending is None and self._suspects and not self._sent:
            return self._suspects.pop()
        return pending

    def _restriction(self) -> dict[str, Any]:
        """Arguments of `submit` that prefer workers which have not refused; others take a block if those have died."""
        if not self._refused:
            return {}
        return {"workers": self._usable(), "allow_other_workers": True}

    def _usable(self) -> list[str]:
        return [address for address in self._workers.threads() if address not in self._refused]

    def _settled(self, future: Future, pending: PendingBlock) -> BlockDone | None:
        """The result of a block; None where it has to be sent again."""
        outcome = _outcome(future)
        if isinstance(outcome, BlockDone):
            self._hanging.discard(pending.block.name)
            return outcome
        if isinstance(outcome, Refusal):
            self._leave_out(outcome)
            self._again.append(pending)
        elif isinstance(outcome, BlockFailed):
            failure = Failure(outcome.reason, outcome.error)
            if outcome.reason == "out_of_memory":
                self._try_alone(pending, failure)
            elif pending.failed:
                self._give_up(pending, failure)
            else:
                log.info("block %s is tried again: %s", pending.block.name, outcome.error)
                self._unread.append(replace(pending, failed=True))
        elif (overdue := self._limit.exceeded(future.key)) is not None:
            self._stop_at_limit(pending, overdue)
        else:
            self._try_alone(pending, Failure("worker_lost", WORKER_LOST))
        return None

    def _try_alone(self, pending: PendingBlock, failure: Failure) -> None:
        if pending.alone:
            self._give_up(pending, failure)
        else:
            log.info("block %s is tried again alone: %s", pending.block.name, failure.error)
            self._suspects.append(replace(pending, alone=True))

    def _stop_at_limit(self, pending: PendingBlock, overdue: Overdue) -> None:
        self._hanging.add(pending.block.name)
        spent = f"no end after {self._limit.limit_s:g} s (cluster.block_limit_s)"
        if overdue.can_be_ended:
            self._try_alone(pending, Failure("time_limit", spent))
            return
        self.stuck += 1
        in_thread = overdue.worker.startswith("inproc://")
        why, way_out = (
            (A_THREAD, TAKE_PROCESSES) if in_thread else (f"{overdue.worker} has no nanny", TAKE_NANNIES)
        )
        self._give_up(pending, Failure("time_limit", f"{spent}, and {why}", way_out))

    def _leave_out(self, refusal: Refusal) -> None:
        if refusal.worker not in self._refused:
            log.warning("worker %s is left out for %s: %s", refusal.worker, self._job.slide, refusal.error)
        self._refused[refusal.worker] = refusal.error
        if not self._usable():
            raise _as_own_error(next(iter(self._refused.values())))

    def _give_up(self, pending: PendingBlock, failure: Failure) -> None:
        ScoreStore(self._job.folder).mark_failed(pending.block, pending.px)
        self._given_up[pending.block.name] = failure
        way_out = f"; {failure.way_out}" if failure.way_out else ""
        log.warning(
            "block %s of %s failed: %s%s", pending.block.name, self._job.slide, failure.error, way_out
        )

    def _failure(self) -> FailedBlocksError:
        name, failure = next(iter(self._given_up.items()))
        left = sum(1 for _ in chain(self._fresh, self._again, self._unread, self._suspects, self._sent))
        also = f", and {left} were left, as too many hang" if left else ""
        return FailedBlocksError(
            f"{self._job.slide}: blocks that failed: {len(self._given_up)}, without which there is no percentage "
            f"(block {name}: {failure.error}){also}; the others are kept, and "
            f"{failure.way_out or 'the same command tries these alone'}",
            failure.reason,
        )


def _outcome(future: Future) -> Any:
    """A future's result, or the error that says that its workers died; other errors are raised."""
    try:
        error = future.exception()
        if error is None:
            return future.result()
    except LOST as lost:
        return lost
    if isinstance(error, KilledWorker):
        return error
    raise _as_own_error(error)


def _as_own_error(error: BaseException) -> WsiNecrosisError:
    """The error if it is a `WsiNecrosisError`, else one that quotes it."""
    if isinstance(error, WsiNecrosisError):
        return error
    named = WsiNecrosisError(
        f"a block failed with {type(error).__name__}: {error}; finished blocks are kept, the same command resumes"
    )
    named.__cause__ = error
    return named
