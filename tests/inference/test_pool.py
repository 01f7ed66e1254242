from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from tests.helpers.pools import blocks_of, count_tasks, fresh, held, local, started, stored, until
from wsi_necrosis.errors import UsageError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore


def test_an_error_of_a_worker_is_raised_in_the_client(job: Job) -> None:
    with started(local(workers=1)) as pool, pytest.raises(UsageError, match="install the same"):
        list(pool.score(replace(job, version="0.0.0"), blocks_of(job)))


def test_slides_follow_one_another_with_one_model(job: Job, tmp_path: Path) -> None:
    one, two = fresh(job, tmp_path / "one"), fresh(job, tmp_path / "two")

    def model_of(client: Client, name: str) -> object:
        return client.run(lambda dask_worker: id(dask_worker.plugins[name]._model[1]))

    with started(local(workers=2)) as pool:
        done = list(pool.score(one, blocks_of(one)))
        before = model_of(pool.client, pool.name)
        assert held(pool) == [[]]
        list(pool.score(two, blocks_of(two)))
        assert model_of(pool.client, pool.name) == before
    assert sum(block.tiles for block in done) == int(
        (ScoreStore(job.folder).read().state == CellState.SCORED).sum()
    )
    assert stored(one) == stored(two) == stored(job)


def test_two_slides_at_once(job: Job, tmp_path: Path) -> None:
    jobs = [fresh(job, tmp_path / name) for name in ("one", "two")]
    with started(local(workers=2)) as pool, ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda each: list(pool.score(each, blocks_of(each))), jobs))
    assert [len(each) for each in done] == [len(blocks_of(job))] * 2
    assert stored(jobs[0]) == stored(jobs[1]) == stored(job)


def test_an_iterator_that_is_closed_early_closes_the_slide(job: Job) -> None:
    with started(local(workers=1)) as pool:
        with closing(pool.score(job, blocks_of(job))) as some:
            next(some)
            assert held(pool) == [[job.key]]
        assert held(pool) == [[]]
        until(lambda: count_tasks(pool) == 0)  # tasks are cancelled by a message, which takes a moment


def test_a_given_scheduler_is_used_and_left_running_and_late_workers_join(job: Job, tmp_path: Path) -> None:
    elsewhere = fresh(job, tmp_path)
    with LocalCluster(
        1, 1, processes=False, dashboard_address=":0", memory_limit=0, protocol="tcp"
    ) as cluster:
        settings = local(scheduler=cluster.scheduler_address)
        with WorkerPool(settings) as pool:
            pool.require_scheduler()
            scoring = pool.score(elsewhere, blocks_of(elsewhere))
            next(scoring)
            cluster.scale(2)
            pool.client.wait_for_workers(2)
            late = max(cluster.workers)
            seen = [cluster.workers[late].plugins[pool.name].holds() for _ in scoring]
            assert [elsewhere.key] in seen
            assert held(pool) == [[], []]
        with Client(cluster) as client:
            assert len(client.nthreads()) == 2
            plugins = client.run(lambda dask_worker: [name for name in dask_worker.plugins if "wsi" in name])
            assert set(map(tuple, plugins.values())) == {()}
    assert stored(elsewhere) == stored(job)


def test_an_address_without_a_scheduler_is_named() -> None:
    with pytest.raises(UsageError, match="foo://nowhere"):
        WorkerPool(local(scheduler="foo://nowhere")).require_scheduler()


def test_what_one_thread_started_another_may_end(job: Job, tmp_path: Path) -> None:
    """A slide is prepared in a thread of its own, which is the first to ask for the scheduler."""
    elsewhere = fresh(job, tmp_path)
    with (
        LocalCluster(
            1, 1, processes=False, dashboard_address=":0", memory_limit=0, protocol="tcp"
        ) as cluster,
        WorkerPool(local(scheduler=cluster.scheduler_address)) as pool,
    ):
        with ThreadPoolExecutor(1) as ahead:
            ahead.submit(pool.require_scheduler).result()
        assert len(list(pool.score(elsewhere, blocks_of(elsewhere)))) == len(blocks_of(job))
