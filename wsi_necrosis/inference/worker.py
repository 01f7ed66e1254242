"""What a worker holds and does: jobs, the plugin that opens them, and the task that scores a block.

A slide is open from its first block on the worker to the end of its job; the model stays until another is asked for.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from distributed import Worker, WorkerPlugin, get_worker
from numpy.typing import NDArray

from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.inference.scorer import Scorer
from wsi_necrosis.inference.stats import WorkerStats
from wsi_necrosis.memory import keep_freed_memory, peak_memory_mb, this_process
from wsi_necrosis.model.backend import Backend, require_backend
from wsi_necrosis.model.loading import load_model
from wsi_necrosis.model.spec import load_spec
from wsi_necrosis.model.tile_model import TileModel
from wsi_necrosis.provenance import VERSION
from wsi_necrosis.radiomics.extraction import Engine, prepare
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.slides.fingerprint import slide_fingerprint
from wsi_necrosis.slides.slide import open_slide
from wsi_necrosis.stain.normalise import Normaliser
from wsi_necrosis.tiling.grid import Block, PixelCount, TileGrid


@dataclass(frozen=True)
class Job:
    """Everything a worker needs to score blocks of one slide; small and picklable."""

    slide: Path
    mpp: Mpp
    reader: str
    fingerprint: str
    model: str
    model_fingerprint: str
    backend: Backend
    grid: TileGrid
    batch_tiles: int
    folder: Path
    engine: Engine = "compiled"
    normaliser: Normaliser | None = None
    version: str = VERSION

    @property
    def key(self) -> str:
        """Name under which workers keep what they opened for this job."""
        return f"wsi-necrosis-{self.fingerprint}-{self.model_fingerprint}-{os.fspath(self.folder)}"

    @property
    def model_key(self) -> tuple[str, Backend]:
        """Jobs with the same one share a loaded model."""
        return self.model_fingerprint, self.backend


@dataclass(frozen=True)
class BlockDone:
    """What a finished block reports: its tiles, what they took, and the process's largest memory so far in MiB."""

    block: Block
    tiles: int
    watch: WorkerStats = field(default_factory=WorkerStats)
    memory_mb: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusal:
    """A worker that cannot do a job, and why."""

    worker: str
    error: Exception


@dataclass(frozen=True)
class OpenJob:
    """A job as a worker holds it: what scores its blocks, and where they are written."""

    scorer: Scorer
    store: ScoreStore


class PoolPlugin(WorkerPlugin):
    """What a worker of a crew holds: the jobs under way, and the model of the last one opened.

    Dask sets it up on workers that join later or are started again, too. A job is opened by its first block, in
    that block's thread, so that a slow disk does not hold up the worker's answers to the scheduler.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def setup(self, worker: Worker) -> None:
        """Make room for jobs; called by Dask."""
        keep_freed_memory()
        self._lock = Lock()
        self._desks: dict[str, OpenJob] = {}
        self._model: tuple[tuple[str, Backend], TileModel] | None = None

    def desk(self, job: Job) -> OpenJob:
        """The job, opened.

        Raises
        ------
        WsiNecrosisError
            This worker runs other code than the client, or does not see what it sees.
        """
        with self._lock:
            if job.key not in self._desks:
                self._desks[job.key] = self._open(job)
            return self._desks[job.key]

    def holds(self) -> list[str]:
        """Keys of the jobs that are open."""
        return sorted(self._desks)

    def close(self, key: str) -> None:
        """Close a job's slide, once reads under way have ended; nothing where the job is not open."""
        with self._lock:
            desk = self._desks.pop(key, None)
        if desk is not None:
            desk.scorer.slide.close()

    async def teardown(self, worker: Worker) -> None:
        """Close all slides; called by Dask."""
        for key in self.holds():
            await asyncio.to_thread(self.close, key)

    def _open(self, job: Job) -> OpenJob:
        check_sight(job)
        model = self._loaded(job)
        prepare(model.spec.recipe, job.grid.mpp.side, job.engine)
        store, slide = ScoreStore(job.folder), open_slide(job.slide, job.mpp, job.reader)
        scorer = Scorer(slide, model, job.grid, job.batch_tiles, job.engine, job.normaliser)
        return OpenJob(scorer, store)

    def _loaded(self, job: Job) -> TileModel:
        if self._model is None or self._model[0] != job.model_key:
            self._model = None  # first, so that memory never holds two
            self._model = job.model_key, load_model(job.model, job.backend)
        return self._model[1]


def check_sight(job: Job) -> None:
    """Refuse a worker that runs other code or does not see the job's slide and output.

    Raises
    ------
    UsageError
        Version, model, slide, its reader or output folder differ from the client's, or its backend is not there.
    """
    if job.version != VERSION:
        raise UsageError(f"a worker runs wsi-necrosis {VERSION}, the client {job.version}; install the same")
    require_backend(job.backend)
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
        if slide.info.reader != job.reader:
            raise UsageError(
                f"a worker reads {job.slide} with {slide.info.reader}, the client with {job.reader}; install the same "
                "packages on all machines"
            )


def score_block(crew: str, job: Job, block: Block, px: NDArray[np.uint32]) -> BlockDone | Refusal:
    """Score a block and write its chunk; runs on a worker that has the plugin of that crew."""
    torch.set_num_threads(1)  # one intra-op thread per block: bit-equal for any number of workers
    worker, watch = get_worker(), WorkerStats()
    try:
        with watch.stage("open"):
            desk = worker.plugins[crew].desk(job)
    except (WsiNecrosisError, OSError, ImportError) as error:
        return Refusal(worker.address, error)
    found = desk.scorer.score(block, px, watch)
    with watch.stage("write"):
        desk.store.write_block(block, found)
    return BlockDone(block, tiles_of(px), watch, {this_process(): peak_memory_mb()})


async def close_job(crew: str, key: str, dask_worker: Worker) -> None:
    """Close a job on a worker; Dask fills in which."""
    plugin = dask_worker.plugins.get(crew)
    if plugin is not None:
        await asyncio.to_thread(plugin.close, key)


def tiles_of(px: NDArray[np.uint32]) -> int:
    """Tiles that a block's mask pixels (rows, cols, 4) ask for."""
    return int((px[..., PixelCount.TISSUE] > 0).sum())
