"""Pools of workers, and a job's blocks and store."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client

from wsi_necrosis.errors import FailedBlocksError
from wsi_necrosis.inference.cluster import WorkerShape
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import ClusterSettings, load_settings

TWO_IN_THREADS = [WorkerShape(1), WorkerShape(1)]


def local(**changes: object) -> ClusterSettings:
    return load_settings().cluster.model_copy(update=changes)


def blocks_of(job: Job) -> list:
    px = ScoreStore(job.folder).read().px
    return [(block, px[block.cells]) for block in job.grid.blocks() if px[block.cells][..., 1].any()]


def fresh(job: Job, folder: Path) -> Job:
    """The job on a store of its own in which nothing is scored."""
    done = ScoreStore(job.folder)
    facts = {name: done.plan[name] for name in ("inputs", "features")}
    ScoreStore.create(folder, job.grid, done.read().px, float(done.plan["px_mm2"]), facts)
    return replace(job, folder=folder)


def stored(job: Job) -> dict[str, bytes]:
    """Every file of a job's store by name, but for what killed workers left half-written: publishing removes it."""
    places = (job.folder / "scores.zarr", job.folder / "blocks")
    files = (
        file for place in places for file in place.rglob("*") if file.is_file() and file.suffix != ".partial"
    )
    return {str(file.relative_to(job.folder)): file.read_bytes() for file in files}


@contextmanager
def started(settings: ClusterSettings, device: str = "cpu") -> Iterator[WorkerPool]:
    with WorkerPool(settings) as pool:
        pool.start(device)
        yield pool


@contextmanager
def pool_of(cluster: object) -> Iterator[WorkerPool]:
    with cluster as running, Client(running) as client, WorkerPool.of(client) as pool:
        yield pool


def until_failure(pool: WorkerPool, job: Job, blocks: list) -> tuple[list[str], FailedBlocksError]:
    """Names of the blocks that were scored, and the error that ended the job."""
    done = []
    try:
        for each in pool.score(job, blocks):
            done.append(each.block.name)  # noqa: PERF401  # what came before the error counts
    except FailedBlocksError as error:
        return done, error
    pytest.fail("no block failed")


def held(pool: WorkerPool) -> list[list[str]]:
    """Jobs that each worker holds."""
    name = pool.name
    return list(pool.client.run(lambda dask_worker: dask_worker.plugins[name].holds()).values())


def count_tasks(pool: WorkerPool) -> int:
    return pool.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"condition not met within {seconds} s"
        time.sleep(0.05)
