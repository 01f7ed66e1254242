"""Where blocks run: threads or processes of this machine, or a Dask cluster.

A `Crew` is the workers that score slides, one after another. A task gets a job, a block and a few numbers,
never pixels; it writes its own chunk of the store.
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import CancelledError
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import dask
import numpy as np
import torch
from dask.system import CPU_COUNT
from distributed import (
    Client,
    Future,
    KilledWorker,
    Nanny,
    Scheduler,
    Security,
    SpecCluster,
    Worker,
    as_completed,
)
from numpy.typing import NDArray

from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.inference.worker import (
    BlockDone,
    Job,
    PoolPlugin,
    Refusal,
    close_job,
    score_block,
    tiles_of,
)
from wsi_necrosis.memory import ENVIRONMENT
from wsi_necrosis.scores.store import ScoreStore, unreadable_block
from wsi_necrosis.settings.run import ClusterSettings
from wsi_necrosis.tiling.grid import Block

HERE = "127.0.0.1"
NO_DOOR = f"{HERE}:0"  # Dask serves HTTP in any case; slides are nobody else's business
PATIENCE_S = 20  # for a scheduler to answer and have a worker
BLOCKS_AHEAD = 2  # on their way for each thread of the crew: one that runs, one that waits beside it
COUNTED_EVERY_S = 5.0  # workers come and go
DEATHS = 2  # of its workers until Dask gives up on a block
# What worker processes start with: freed memory is kept, and a block has one thread of each library.
WORKER_ENVIRONMENT = {
    **ENVIRONMENT,
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
}
# What Dask says where plugin, scheduler or client are gone.
GONE = (ValueError, OSError, KeyError, TimeoutError, RuntimeError)
log = logging.getLogger(__name__)


class Crew:
    """The workers of one cluster, which score slides one after another; `connected` makes one."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.name = f"wsi-necrosis-{client.id}"
        self._order = count()
        self._threads: dict[str, int] = {}
        self._counted = float("-inf")
        client.register_plugin(PoolPlugin(self.name))

    def score(
        self, job: Job, blocks: Iterable[tuple[Block, NDArray[np.uint32]]]
    ) -> Generator[BlockDone, None, None]:
        """Score the blocks of a slide, and yield each as it is done, in any order.

        Blocks are sent a few per worker at a time. Two threads may score two slides at once: blocks of the one
        that began first go first. The slide is closed on the workers when the iterator ends or is closed.

        Parameters
        ----------
        job : Job
            Slide, model and output.
        blocks : iterable of (Block, uint32 array (rows, cols, 4))
            Blocks and the mask pixels of their cells.

        Raises
        ------
        WsiNecrosisError
            No worker can do the job (the error is the first worker's), or a block failed; blocks that are
            done are kept.
        """
        sent = _Sent(self, job, (PendingBlock(*block) for block in blocks), priority=-next(self._order))
        try:
            yield from sent.results()
        finally:
            # What went away took futures and slides along; the error that ended it says more.
            with suppress(*GONE):
                sent.cancel()
                self.client.run(close_job, self.name, job.key, on_error="ignore")

    def threads(self) -> Mapping[str, int]:
        """Blocks at once by address of worker, as of a few seconds ago."""
        if time.monotonic() - self._counted > COUNTED_EVERY_S:
            self._threads, self._counted = self.client.nthreads(), time.monotonic()
        return self._threads

    def leave(self) -> None:
        """Have the workers close and forget all that they hold for this crew."""
        with suppress(*GONE):
            self.client.unregister_worker_plugin(self.name)


@dataclass(frozen=True)
class PendingBlock:
    """A block to score, its mask pixels, and whether it is sent alone because workers died with it."""

    block: Block
    px: NDArray[np.uint32]
    alone: bool = False


class _Sent:
    """The blocks of one job on their way: those that wait, those sent, and those whose workers died.

    Dask runs the blocks of a dead worker again elsewhere, and gives up on those that were on too many dead workers.
    These are not all to blame: each is sent once more when nothing else of the job is under way, and what then kills
    its workers again is unreadable.
    """

    def __init__(self, crew: Crew, job: Job, pieces: Iterator[PendingBlock], priority: int) -> None:
        self._crew, self._job, self._priority = crew, job, priority
        self._fresh, self._again, self._suspects = pieces, list[PendingBlock](), list[PendingBlock]()
        self._pieces: dict[Future, PendingBlock] = {}
        self._refused: dict[str, Exception] = {}

    def results(self) -> Iterator[BlockDone]:
        """Blocks as they are done; more are sent as there is room."""
        done = as_completed()
        self._send(done)
        for future in done:
            piece = self._pieces.pop(future)
            finished = self._settled(future, piece)
            self._send(done)
            if finished is not None:
                yield finished

    def cancel(self) -> None:
        """Take back what has not begun."""
        self._crew.client.cancel(list(self._pieces))

    def _send(self, done: Any) -> None:
        room = BLOCKS_AHEAD * max(1, sum(self._crew.threads().values()))
        while len(self._pieces) < room and (piece := self._next()) is not None:
            future = self._crew.client.submit(
                score_block, self._crew.name, self._job, piece.block, piece.px,
                pure=False, priority=self._priority, **self._where(),
            )  # fmt: skip
            self._pieces[future] = piece
            done.add(future)

    def _next(self) -> PendingBlock | None:
        if self._again:
            return self._again.pop()
        piece = next(self._fresh, None)
        if piece is None and self._suspects and not self._pieces:
            return self._suspects.pop()
        return piece

    def _where(self) -> dict[str, Any]:
        """Dask's restriction to workers that have not refused; none is left hanging where those have died."""
        if not self._refused:
            return {}
        return {"workers": self._willing(), "allow_other_workers": True}

    def _willing(self) -> list[str]:
        return [address for address in self._crew.threads() if address not in self._refused]

    def _settled(self, future: Future, piece: PendingBlock) -> BlockDone | None:
        """What became of a block; none where it has to be sent again."""
        outcome = _outcome(future)
        if isinstance(outcome, BlockDone):
            return outcome
        if isinstance(outcome, Refusal):
            self._leave_out(outcome)
            self._again.append(piece)
        elif piece.alone:
            return self._give_up(piece)
        else:
            self._suspects.append(replace(piece, alone=True))
        return None

    def _leave_out(self, refusal: Refusal) -> None:
        if refusal.worker not in self._refused:
            log.warning("worker %s is left out for %s: %s", refusal.worker, self._job.slide, refusal.error)
        self._refused[refusal.worker] = refusal.error
        if not self._willing():
            raise _named(next(iter(self._refused.values())))

    def _give_up(self, piece: PendingBlock) -> BlockDone:
        store = ScoreStore(self._job.folder)
        store.write_block(piece.block, unreadable_block(piece.px, len(store.plan["features"])))
        log.warning(
            "block %s of %s ended every worker that took it, also alone; its cells count as unreadable",
            piece.block.name,
            self._job.slide,
        )
        return BlockDone(piece.block, tiles_of(piece.px))


def check_scheduler(settings: ClusterSettings) -> None:
    """Refuse an address at which no scheduler with workers answers.

    Raises
    ------
    UsageError
        The message names the address.
    """
    if settings.scheduler:
        _remote(settings.scheduler).close()


def count_workers(settings: ClusterSettings) -> int:
    """Blocks at once on this machine."""
    return settings.workers or CPU_COUNT


@contextmanager
def connected(settings: ClusterSettings, device: str = "cpu") -> Iterator[Crew]:
    """The workers that the settings name; local ones end with the context.

    Parameters
    ----------
    settings : ClusterSettings
        Workers, processes, scheduler.
    device : str
        Where models compute, from `backend.choose_device`. With "cuda" there is a process for each GPU that this
        process may use; a single GPU is shared by threads of this one unless processes are asked for.

    Raises
    ------
    UsageError
        The scheduler does not answer, or has no worker.
    """
    with _client(settings, device) as client:
        crew = Crew(client)
        try:
            yield crew
        finally:
            crew.leave()


@contextmanager
def _client(settings: ClusterSettings, device: str) -> Iterator[Client]:
    if settings.scheduler:
        with _remote(settings.scheduler) as client:
            yield client
    else:
        with (
            local_cluster(worker_shapes(settings, cuda_devices(device))) as cluster,
            Client(cluster) as client,
        ):
            yield client


@dataclass(frozen=True)
class WorkerShape:
    """A worker of a local cluster: its threads, and the environment of its process; None is this process."""

    threads: int
    environment: Mapping[str, str] | None = None


def cuda_devices(device: str) -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none for another device."""
    if device != "cuda":
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return tuple(named.split(",")) if named else tuple(str(i) for i in range(torch.cuda.device_count()))


def worker_shapes(settings: ClusterSettings, gpus: tuple[str, ...] = ()) -> list[WorkerShape]:
    """The workers of a local cluster.

    Parameters
    ----------
    settings : ClusterSettings
        Blocks at once, and whether in processes.
    gpus : tuple of str
        Devices as CUDA_VISIBLE_DEVICES names them.

    Returns
    -------
    list of WorkerShape
        A process for each GPU, whose threads read and compute radiomics; or a process for each block at once; or
        all blocks at once in threads of this process.
    """
    workers = count_workers(settings)
    if len(gpus) > 1 or (gpus and settings.processes):
        threads = max(1, workers // len(gpus))
        return [WorkerShape(threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]
    if settings.processes:
        return [WorkerShape(1, {}) for _ in range(workers)]
    return [WorkerShape(workers)]


@contextmanager
def local_cluster(shapes: Sequence[WorkerShape]) -> Iterator[SpecCluster]:
    """A Dask cluster on this machine, which listens to nobody else."""
    processes = any(shape.environment is not None for shape in shapes)
    place = {"protocol": "tcp://", "host": HERE} if processes else {"protocol": "inproc://"}
    common = {**place, "dashboard": False, "dashboard_address": NO_DOOR}
    scheduler = {"cls": Scheduler, "options": {**common, "port": 0, "allowed_failures": DEATHS - 1}}
    workers = {i: _worker(shape, common) for i, shape in enumerate(shapes)}
    manners = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,  # allocator and OpenMP read these at the start
        "distributed.deploy.lost-worker-timeout": "1 day",  # else Dask closes what dies twice within 15 s, for good
    }
    with (
        dask.config.set(manners),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
    ):
        yield cluster


def _worker(shape: WorkerShape, common: Mapping[str, Any]) -> dict[str, Any]:
    options = {**common, "nthreads": shape.threads, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    if shape.environment is None:
        return {"cls": Worker, "options": options}
    return {"cls": Nanny, "options": {**options, "env": {**WORKER_ENVIRONMENT, **shape.environment}}}


def _remote(address: str) -> Client:
    if address.startswith("tls://") and Security().get_connection_args("client").get("ssl_context") is None:
        raise UsageError(
            f"{address} asks for TLS and Dask has no certificate here; name ca-file, client.cert and client.key under "
            "distributed.comm.tls in Dask's configuration (docs/cluster.md)"
        )
    with ExitStack() as unless_it_works:
        try:
            client = unless_it_works.enter_context(Client(address, timeout=PATIENCE_S))
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Dask scheduler with workers answers at {address} ({error}); start one with `dask scheduler`, or "
                "leave --scheduler away to run on this machine"
            ) from None
        unless_it_works.pop_all()
    return client


def _outcome(future: Future) -> Any:
    """A future's result, or Dask's word that the workers of a block died; other errors are raised by name."""
    try:
        error = future.exception()
    except (CancelledError, OSError, TimeoutError) as lost:
        error = lost
    if error is None:
        return future.result()
    if isinstance(error, KilledWorker):
        return error
    raise _named(error)


def _named(error: BaseException) -> WsiNecrosisError:
    """The error if it is one of our own, else one that names it as a block's failure."""
    if isinstance(error, WsiNecrosisError):
        return error
    named = WsiNecrosisError(
        f"a block failed with {type(error).__name__}: {error}; finished blocks are kept, the same command resumes"
    )
    named.__cause__ = error
    return named
