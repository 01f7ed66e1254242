"""Send the blocks of a slide to Dask workers a few at a time; blocks that fail, and workers that refuse or die."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from distributed import Client, Future, KilledWorker, as_completed
from numpy.typing import NDArray

from wsi_necrosis.errors import FailedBlocksError, WsiNecrosisError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.worker import BlockDone, BlockFailed, Refusal, score_block
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.tiling.grid import Block

BLOCKS_AHEAD = 2  # sent for each thread of the workers: one that runs and one that is queued
log = logging.getLogger(__name__)


class Workers(Protocol):
    """The workers that blocks are sent to: their client, the name of their plugin, and threads by address."""

    name: str

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


class BlockDispatcher:
    """The blocks of one job: those not sent yet, those sent, and those that failed or whose workers died.

    A block that the system failed to read is sent once more after all others. One that fails again stays failed, and
    ends the job with an error when the others are done.

    Dask runs the blocks of a dead worker again elsewhere, and gives up on those that were on too many dead workers.
    Another block on the same workers may have been the cause. Each is therefore sent once more when no other block of
    the job is running; if its workers die again, it stays failed.
    """

    def __init__(self, workers: Workers, job: Job, blocks: Iterator[PendingBlock], priority: int) -> None:
        self._workers, self._job, self._priority = workers, job, priority
        self._fresh, self._again, self._suspects = blocks, list[PendingBlock](), list[PendingBlock]()
        self._unread, self._given_up = list[PendingBlock](), dict[str, tuple[str, str]]()
        self._sent: dict[Future, PendingBlock] = {}
        self._refused: dict[str, Exception] = {}

    def results(self) -> Iterator[BlockDone]:
        """Blocks as they are done; more are sent as workers become free.

        Raises
        ------
        FailedBlocksError
            All others are done, and some have failed twice.
        """
        done = as_completed(loop=self._workers.client.loop)
        self._send(done)
        for future in done:
            pending = self._sent.pop(future)
            finished = self._settled(future, pending)
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

    def _next(self) -> PendingBlock | None:
        if self._again:
            return self._again.pop()
        pending = next(self._fresh, None)
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
            return outcome
        if isinstance(outcome, Refusal):
            self._leave_out(outcome)
            self._again.append(pending)
        elif isinstance(outcome, BlockFailed):
            if pending.failed:
                self._give_up(pending, "read_error", outcome.error)
            else:
                log.info("block %s is tried again: %s", pending.block.name, outcome.error)
                self._unread.append(replace(pending, failed=True))
        elif pending.alone:
            self._give_up(pending, "worker_lost", "every worker that took it ended, also when it was alone")
        else:
            self._suspects.append(replace(pending, alone=True))
        return None

    def _leave_out(self, refusal: Refusal) -> None:
        if refusal.worker not in self._refused:
            log.warning("worker %s is left out for %s: %s", refusal.worker, self._job.slide, refusal.error)
        self._refused[refusal.worker] = refusal.error
        if not self._usable():
            raise _as_own_error(next(iter(self._refused.values())))

    def _give_up(self, pending: PendingBlock, reason: str, error: str) -> None:
        ScoreStore(self._job.folder).mark_failed(pending.block, pending.px)
        self._given_up[pending.block.name] = reason, error
        log.warning("block %s of %s failed twice: %s", pending.block.name, self._job.slide, error)

    def _failure(self) -> FailedBlocksError:
        name, (reason, error) = next(iter(self._given_up.items()))
        return FailedBlocksError(
            f"{self._job.slide}: blocks that failed twice: {len(self._given_up)}, without which there is no percentage "
            f"(block {name}: {error}); the others are kept, and the same command tries these alone",
            reason,
        )


def _outcome(future: Future) -> Any:
    """A future's result, or the error that says that its workers died; other errors are raised."""
    try:
        error = future.exception()
    except (CancelledError, OSError, TimeoutError) as lost:
        error = lost
    if error is None:
        return future.result()
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
