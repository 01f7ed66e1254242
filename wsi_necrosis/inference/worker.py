"""What runs on a worker: the plugin that opens jobs, and the task that scores a block.

A slide is open from its first block on the worker to the end of its job; the model stays loaded until a job needs
another.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
from distributed import Worker, WorkerPlugin, get_worker
from numpy.typing import NDArray

from wsi_necrosis.errors import ReadError, UsageError, WsiNecrosisError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.scorer import Scorer
from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.memory import keep_freed_memory, peak_memory_mb, this_process
from wsi_necrosis.model.backend import Backend, require_backend
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.provenance import VERSION
from wsi_necrosis.radiomics.extraction import prepare
from wsi_necrosis.scores.block_scores import BlockScores
from wsi_necrosis.scores.slide_folder import SlideFolder
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import Slide, open_slide
from wsi_necrosis.slides.source_files import SourceFiles
from wsi_necrosis.tiling.grid import Block, PixelCount

PATIENCE_S = 10.0  # with a slide that is being opened, when it is to be closed
# Words of torch and OpenVINO.
OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "t allocate memory",
    "cannot allocate memory",
    "bad_alloc",
)


@dataclass(frozen=True)
class BlockDone:
    """A finished block: its number of tiles, their cost, and the largest memory of the process so far in MiB."""

    block: Block
    tiles: int
    stats: WorkerStats = field(default_factory=WorkerStats)
    memory_mb: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockFailed:
    """A block that failed for a reason that may pass: `read_error` or `out_of_memory`, and the error in words."""

    block: Block
    error: str
    reason: str = "read_error"


@dataclass(frozen=True)
class Refusal:
    """A worker that cannot do a job, and why."""

    worker: str
    error: Exception


@dataclass(frozen=True)
class OpenJob:
    """A job on a worker: the scorer of its blocks, the store that they are written to, and the slide's files."""

    scorer: Scorer
    store: ScoreStore
    files: SourceFiles


def dask_setup(_worker: Worker) -> None:
    """Leave Ctrl-C, which a terminal sends to all processes, to the one that ends the others; called by Dask."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class PoolPlugin(WorkerPlugin):
    """State of a pool on each worker: the open jobs, and the model of the last one opened.

    Dask also sets it up on workers that join later or are restarted. A job is opened by its first block, in that
    block's thread, so that a slow disk does not delay the worker's answers to the scheduler.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, worker: Worker) -> None:
        """Start without jobs and model; called by Dask."""
        keep_freed_memory()
        self._lock = Lock()
        self._open_jobs: dict[str, OpenJob] = {}
        self._model: tuple[tuple[str, Backend], TileModel] | None = None

    def open(self, job: Job) -> OpenJob:
        """The job, opened.

        Raises
        ------
        WsiNecrosisError
            This worker runs other code than the client, or does not find the same files.
        """
        with self._lock:
            if job.key not in self._open_jobs:
                self._open_jobs[job.key] = self._opened(job)
            return self._open_jobs[job.key]

    def holds(self) -> list[str]:
        """Keys of the jobs that are open."""
        return sorted(self._open_jobs)

    def close(self, key: str) -> None:
        """Close a job's slide, once reads under way have ended; nothing where the job is not open.

        A slide that hangs, in a read or while it is opened, stays open.
        """
        if not self._lock.acquire(timeout=PATIENCE_S):
            return
        try:
            open_job = self._open_jobs.pop(key, None)
        finally:
            self._lock.release()
        if open_job is not None:
            open_job.scorer.slide.close()

    async def teardown(self, worker: Worker) -> None:
        """Close all slides; called by Dask."""
        for key in self.holds():
            await asyncio.to_thread(self.close, key)

    def _opened(self, job: Job) -> OpenJob:
        require_same_setup(job)
        slide, files = open_same_slide(job)
        try:
            model = self._loaded(job)
            prepare(model.spec.recipe, job.grid.mpp.side, job.engine)
            scorer = Scorer(
                slide,
                model,
                job.grid,
                job.batch_tiles,
                job.engine,
                job.normaliser,
                job.focus_limit,
                job.black_fill,
            )
            return OpenJob(scorer, ScoreStore(job.folder), files)
        except BaseException:
            slide.close()
            raise

    def _loaded(self, job: Job) -> TileModel:
        if self._model is None or self._model[0] != job.model_key:
            self._model = None  # first, so that two models are never in memory
            self._model = job.model_key, load_model(job.model, job.backend)
        return self._model[1]


def require_same_setup(job: Job) -> None:
    """Refuse a worker that runs other code than the client or does not find its model and output.

    Raises
    ------
    UsageError
        Version, model or output folder differ from the client's, or the backend is not available.
    """
    if job.version != VERSION:
        raise UsageError(f"a worker runs wsi-necrosis {VERSION}, the client {job.version}; install the same")
    require_backend(job.backend)
    if load_spec(job.model).fingerprint != job.model_fingerprint:
        raise UsageError(f"a worker sees another model {job.model}; use a folder that all share")
    if not SlideFolder(job.folder).has_scores:
        raise UsageError(
            f"a worker does not see {job.folder}; put the output on a file system that all share"
        )


def open_same_slide(job: Job) -> tuple[Slide, SourceFiles]:
    """The job's slide and its files, if this worker finds the client's file and reads it in the same way.

    Raises
    ------
    ReadError
        The system failed to read the file.
    UsageError
        The file or its reader differ from the client's.
    """
    slide = open_slide(job.slide, job.mpp, scene=job.scene)
    try:
        files = SourceFiles.of(slide.info.files)
        if slide_fingerprint(slide.info.files) != job.fingerprint:
            raise UsageError(
                f"a worker sees another {job.slide}; use paths that mean the same file everywhere"
            )
        if slide.info.reader != job.reader:
            raise UsageError(
                f"a worker reads {job.slide} with {slide.info.reader}, the client with {job.reader}; install the same "
                "packages on all machines"
            )
    except BaseException:
        slide.close()
        raise
    return slide, files


def score_block(
    pool: str, job: Job, block: Block, px: NDArray[np.uint32]
) -> BlockDone | BlockFailed | Refusal:
    """Score a block and write its chunk; runs on a worker that has the plugin of that pool.

    Raises
    ------
    SlideChangedError
        The slide's files are not what they were when this worker opened them; the block is not written.
    """
    if job.backend.name == "torch":
        from torch import set_num_threads  # takes three seconds, and OpenVINO does not need it

        set_num_threads(1)  # one intra-op thread per block: bit-equal for any number of workers
    try:
        return _opened_and_scored(pool, job, block, px)
    except ReadError as error:
        return BlockFailed(block, str(error))
    except (MemoryError, RuntimeError) as error:  # torch and OpenVINO raise the latter
        if not is_out_of_memory(error):
            raise
        return BlockFailed(block, f"out of memory ({type(error).__name__}: {error})", "out_of_memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was not enough; libraries in C++ say so in words."""
    return isinstance(error, MemoryError) or any(words in str(error).lower() for words in OUT_OF_MEMORY)


def _opened_and_scored(pool: str, job: Job, block: Block, px: NDArray[np.uint32]) -> BlockDone | Refusal:
    worker, stats = get_worker(), WorkerStats()
    try:
        with stats.stage("open"):
            opened = worker.plugins[pool].open(job)
    except ReadError:
        raise
    except (WsiNecrosisError, OSError, ImportError) as error:
        return Refusal(worker.address, error)
    found = _scored(opened, block, px, stats)
    with stats.stage("write"):
        opened.store.write_block(block, found)
    return BlockDone(block, tiles_of(px), stats, {this_process(): peak_memory_mb()})


def _scored(opened: OpenJob, block: Block, px: NDArray[np.uint32], stats: WorkerStats) -> BlockScores:
    """The block's scores, of files that are the same before and after."""
    try:
        found = opened.scorer.score(block, px, stats)
    except ReadError:
        opened.files.require_unchanged()  # else the change is what the user must know
        raise
    opened.files.require_unchanged()
    return found


async def close_job(pool: str, key: str, dask_worker: Worker) -> None:
    """Close a job on a worker, which Dask passes as `dask_worker`."""
    plugin = dask_worker.plugins.get(pool)
    if plugin is not None:
        await asyncio.to_thread(plugin.close, key)


def tiles_of(px: NDArray[np.uint32]) -> int:
    """Number of cells with tissue, by a block's mask pixels (rows, cols, 5)."""
    return int((px[..., PixelCount.TISSUE] > 0).sum())
