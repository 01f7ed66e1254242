"""The workers that score slides, one slide after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, closing, suppress
from itertools import count
from threading import Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from wsi_necrosis.inference.stats import ScoringStats, WorkerStats
from wsi_necrosis.inference.watcher import Watcher
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.settings.run import ClusterSettings, load_settings
from wsi_necrosis.tiling.grid import Block, PixelCount

if TYPE_CHECKING:
    from distributed import Client

    from wsi_necrosis.inference.job import Job
    from wsi_necrosis.inference.plan import Plan
    from wsi_necrosis.inference.worker import BlockDone
    from wsi_necrosis.scores.store import ScoreStore

COUNTED_EVERY_S = 5.0  # workers come and go
PATIENCE_S = 30.0  # with workers that are told to close a slide: one that hangs does not answer
# Errors of Dask where plugin, scheduler or client are gone.
GONE = (ValueError, OSError, KeyError, TimeoutError, RuntimeError)
log = logging.getLogger(__name__)


class WorkerPool:
    """Workers that start with the first block and end with the context; the model stays loaded between slides.

    Parameters
    ----------
    settings : ClusterSettings
        Threads or processes of this machine, or the address of a Dask scheduler.

    Examples
    --------
    >>> from wsi_necrosis.settings.run import load_settings
    >>> with WorkerPool(load_settings().cluster) as pool:
    ...     pool.require_scheduler()  # nothing to ask for on this machine, and nothing is started
    """

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._stack = ExitStack()
        self._starting = Lock()
        self._client: Client | None = None
        self._order = count()
        self._models = set[tuple[str, Backend]]()  # that can be loaded, by fingerprint
        self._threads: dict[str, int] = {}
        self._counted = float("-inf")
        self._scoring = self._stuck = 0  # slides, and threads that hang
        self._is_own = False
        self.name = ""
        self.block_limit_s = settings.block_limit_s

    def require_scheduler(self) -> None:
        """Refuse an address at which no scheduler with workers answers; local workers are not started.

        Raises
        ------
        UsageError
            The message names the address.
        """
        if self._settings.scheduler:
            self.start()

    def require_model(self, plan: Plan) -> None:
        """Refuse a model that cannot be loaded here, rather than in each worker; it is tried once.

        Raises
        ------
        ModelError, UsageError
            As `loading.load_model`.
        """
        key = plan.spec.fingerprint, plan.backend
        if key not in self._models:
            load_model(plan.model, plan.backend)
            self._models.add(key)

    def start(self, device: str = "cpu") -> None:
        """Start the workers, or connect to those of the scheduler; once.

        Raises
        ------
        UsageError
            The scheduler does not answer, or has no worker.
        """
        # Dask's scheduler takes a second to import; a slide that is up to date or refused should not wait for it.
        from wsi_necrosis.inference.cluster import connected

        with self._starting:
            if self._client is None:
                self._use(self._stack.enter_context(connected(self._settings, device)))
                self._is_own = not self._settings.scheduler

    @classmethod
    def of(cls, client: Client) -> Self:
        """The workers of an existing client, which stays open when the pool's context ends."""
        pool = cls(load_settings().cluster)
        pool._use(client)
        return pool

    def _use(self, client: Client) -> None:
        from wsi_necrosis.inference.worker import PoolPlugin  # as in `start`

        self._client, self.name = client, f"wsi-necrosis-{client.id}"
        self._stack.callback(self._unregister, client, self.name)
        client.register_plugin(PoolPlugin(self.name))

    @property
    def client(self) -> Client:
        """Dask's client of the workers.

        Raises
        ------
        RuntimeError
            They have not been started.
        """
        if self._client is None:
            raise RuntimeError("the workers have not been started")
        return self._client

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
        blocks : iterable of (Block, uint32 array (rows, cols, 5))
            Blocks and the mask pixels of their cells.

        Raises
        ------
        WsiNecrosisError
            No worker can do the job (the error is the first worker's), a block has an error in itself, the slide
            changed, or, after all other blocks, some failed twice; blocks that are done are kept.
        """
        self.start(job.backend.device)
        from wsi_necrosis.inference.dispatch import BlockDispatcher, PendingBlock  # as in `start`
        from wsi_necrosis.inference.worker import close_job

        dispatcher = BlockDispatcher(
            self, job, (PendingBlock(*block) for block in blocks), priority=-next(self._order)
        )
        client = self.client
        with self._starting:
            self._scoring += 1
        try:
            yield from dispatcher.results()
        finally:
            with self._starting:
                self._scoring -= 1
                self._stuck += dispatcher.stuck
            _patiently(dispatcher.cancel)
            _patiently(client.run, close_job, self.name, job.key, on_error="ignore")
            if self._stuck and self._is_own and not self._scoring:
                self._leave()

    def threads(self) -> Mapping[str, int]:
        """Number of threads by address of worker, as of a few seconds ago."""
        if time.monotonic() - self._counted > COUNTED_EVERY_S:
            self._threads, self._counted = self.client.nthreads(), time.monotonic()
        return self._threads

    def _leave(self) -> None:
        """Leave threads that hang to themselves; the next slide gets new ones."""
        left, self._stack = self._stack, ExitStack()
        self._client, self._stuck, self._counted = None, 0, float("-inf")
        Thread(target=left.close, name="close of threads that hang", daemon=True).start()

    def _unregister(self, client: Client, name: str) -> None:
        """Remove the plugin from the workers, which closes the slides and drops the model of this pool."""
        _patiently(client.unregister_worker_plugin, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        self._client = None


def _patiently(call: Callable[..., object], *arguments: object, **options: object) -> None:
    """Call in a thread of its own, and leave it after a while.

    Where workers are gone there is nothing left to do, and the error that ended scoring matters more.
    """

    def calling() -> None:
        with suppress(*GONE):
            call(*arguments, **options)

    thread = Thread(target=calling, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)


def score_slide(
    pool: WorkerPool, job: Job, store: ScoreStore, px: NDArray[np.uint32], watcher: Watcher
) -> ScoringStats:
    """Score the blocks of a slide that hold tissue and are not done yet.

    Parameters
    ----------
    pool : WorkerPool
        The workers; not started where all blocks are done.
    job : Job
        Slide, model and output.
    store : ScoreStore
        The store of the job's folder.
    px : uint32 array (rows, cols, 5)
        Mask pixels of every cell, by `grid.PixelCount`.
    watcher : Watcher
        Receives the progress.

    Returns
    -------
    ScoringStats
        Counts and times of the scoring.

    Raises
    ------
    WsiNecrosisError
        As `WorkerPool.score`.
    """
    blocks = [(block, px[block.cells]) for block in job.grid.blocks()]
    blocks = [(block, part) for block, part in blocks if part[..., PixelCount.TISSUE].any()]
    waiting = [(block, part) for block, part in blocks if not store.is_done(block)]
    total, left = (
        sum(int((part[..., PixelCount.TISSUE] > 0).sum()) for _, part in some) for some in (blocks, waiting)
    )
    watcher.scoring(total, total - left)
    took, workers, memory = WorkerStats(), 0, dict[str, int]()
    if waiting:
        pool.start(job.backend.device)
        workers = sum(pool.threads().values())
        with closing(pool.score(job, waiting)) as finished:
            for done in finished:
                watcher.scored(done.tiles)
                took.add(done.stats)
                memory |= done.memory_mb
    return ScoringStats(left, total, took, workers, memory)
