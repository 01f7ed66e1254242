"""Where blocks run: threads or processes of this machine, or a Dask cluster.

A task gets a block and a few numbers, never pixels; it writes its own chunk of the store. What a
worker needs (open slide, model) lives in a plugin of the worker, which opens it once and closes it
at the end.
"""

from __future__ import annotations

import logging
import os
from asyncio import CancelledError
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from dask.system import CPU_COUNT
from distributed import Client, Future, LocalCluster, Worker, WorkerPlugin, as_completed, get_worker
from numpy.typing import NDArray

from wsi_necrosis.checkpoint import load_spec
from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.grid import Block, Term, TileGrid
from wsi_necrosis.inference import Scorer, Stopwatch
from wsi_necrosis.memory import ENVIRONMENT, keep_freed_memory
from wsi_necrosis.model import load_model
from wsi_necrosis.normalise import Normaliser
from wsi_necrosis.provenance import VERSION, slide_fingerprint
from wsi_necrosis.radiomics import Engine, prepare
from wsi_necrosis.scores import ScoreStore
from wsi_necrosis.settings import ClusterSettings
from wsi_necrosis.slide import open_slide

NO_DOOR = "127.0.0.1:0"  # Dask serves HTTP in any case; slides are nobody else's business
PATIENCE_S = 20  # for a scheduler to answer and have a worker
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to score blocks of one slide; small and picklable."""

    slide: Path
    mpp: Mpp
    fingerprint: str
    model: str
    model_fingerprint: str
    device: str
    grid: TileGrid
    batch_tiles: int
    folder: Path
    engine: Engine = "compiled"
    stains: NDArray[np.float64] | None = None
    normaliser: Normaliser | None = None
    version: str = VERSION

    @property
    def key(self) -> str:
        """Name under which workers keep what they opened for this job."""
        return f"wsi-necrosis-{self.fingerprint}-{self.model_fingerprint}-{os.fspath(self.folder)}"


@dataclass(frozen=True)
class BlockDone:
    """What a finished block reports: its tiles, and seconds by stage."""

    block: Block
    tiles: int
    seconds: dict[str, float] = field(default_factory=dict)


class JobPlugin(WorkerPlugin):
    """Opens a job's slide and model once per worker, and closes them at the end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.name = job.key

    def setup(self, worker: Worker) -> None:
        """Open slide, model and store; called by Dask."""
        job = self.job
        keep_freed_memory()
        check_sight(job)
        slide = open_slide(job.slide, job.mpp)
        model = load_model(job.model, job.device)
        prepare(model.spec.recipe, job.grid.mpp.side, job.engine)
        self.scorer = Scorer(slide, model, job.grid, job.batch_tiles, job.engine, job.stains, job.normaliser)
        self.store = ScoreStore(job.folder)

    def teardown(self, worker: Worker) -> None:
        """Close the slide; called by Dask."""
        if hasattr(self, "scorer"):
            self.scorer.slide.close()


def check_sight(job: Job) -> None:
    """Refuse a worker that runs other code or does not see the job's slide and output.

    Raises
    ------
    UsageError
        Version, model, slide or output folder differ from the client's.
    """
    if job.version != VERSION:
        raise UsageError(f"a worker runs wsi-necrosis {VERSION}, the client {job.version}; install the same")
    if load_spec(job.model).fingerprint != job.model_fingerprint:
        raise UsageError(f"a worker sees another model {job.model}; use a folder that all share")
    if not ScoreStore.exists(job.folder):
        raise UsageError(
            f"a worker does not see {job.folder}; put the output on a file system that all share"
        )
    with open_slide(job.slide, job.mpp) as slide:
        if slide_fingerprint(slide.info.files) != job.fingerprint:
            raise UsageError(
                f"a worker sees another {job.slide}; use paths that mean the same file everywhere"
            )


def score_block(key: str, block: Block, px: NDArray[np.uint32]) -> BlockDone:
    """Score a block and write its chunk; runs on a worker that holds the job of that key."""
    torch.set_num_threads(1)  # one intra-op thread per block: bit-equal for any number of workers
    plugin = get_worker().plugins[key]
    watch = Stopwatch()
    found = plugin.scorer.score(block, px, watch)
    with watch.stage("write"):
        plugin.store.write_block(block, found)
    return BlockDone(block, int((px[..., Term.TISSUE] > 0).sum()), watch.seconds)


def run_blocks(
    job: Job, blocks: Iterable[tuple[Block, NDArray[np.uint32]]], settings: ClusterSettings
) -> Iterator[BlockDone]:
    """Score blocks where the settings say, and yield each as it is done, in any order.

    Parameters
    ----------
    job : Job
        Slide, model and output.
    blocks : iterable of (Block, uint32 array (rows, cols, 4))
        Blocks and the mask pixels of their cells.
    settings : ClusterSettings
        Workers, processes, scheduler.

    Raises
    ------
    UsageError
        The scheduler does not answer, or a worker does not see slide and output.
    WsiNecrosisError
        A block failed; blocks that are done are kept.
    """
    with connected(settings) as client:
        futures: list[Future] = []
        try:
            client.register_plugin(JobPlugin(job))
            futures += [client.submit(score_block, job.key, block, px, pure=False) for block, px in blocks]
            for future in as_completed(futures):
                yield _result(future)
        finally:
            # What went away took futures and plugin along; the error that ended it says more.
            with suppress(ValueError, OSError, TimeoutError):
                client.cancel(futures)
                client.unregister_worker_plugin(job.key)


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
def connected(settings: ClusterSettings) -> Iterator[Client]:
    """A client of the cluster that the settings name; a local one ends with the context."""
    if settings.scheduler:
        with _remote(settings.scheduler) as client:
            yield client
        return
    workers = count_workers(settings)
    shape: dict[str, Any] = {"n_workers": 1, "threads_per_worker": workers}
    if settings.processes:
        shape = {"n_workers": workers, "threads_per_worker": 1, "env": ENVIRONMENT}
    with (
        LocalCluster(
            **shape,
            processes=settings.processes,
            dashboard_address=NO_DOOR,
            worker_dashboard_address=NO_DOOR,
            scheduler_kwargs={"dashboard": False},
            memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _remote(address: str) -> Client:
    try:
        client = Client(address, timeout=PATIENCE_S)
        client.wait_for_workers(1, timeout=PATIENCE_S)
        return client
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Dask scheduler with workers answers at {address} ({error}); start one with `dask scheduler`, or leave "
            "--scheduler away to run on this machine"
        ) from None


def _result(future: Any) -> BlockDone:
    """A future's result; errors of our own pass, others are named as a block's failure."""
    try:
        error = future.exception()
    except (CancelledError, OSError, TimeoutError) as lost:
        error = lost
    if error is None:
        return future.result()  # type: ignore[no-any-return]  # Dask's futures carry no types
    if isinstance(error, WsiNecrosisError):
        raise error
    raise WsiNecrosisError(
        f"a block failed with {type(error).__name__}: {error}; finished blocks are kept, the same command resumes"
    ) from error
