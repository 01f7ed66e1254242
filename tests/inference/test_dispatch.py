import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, WorkerPlugin

from tests.helpers.pools import (
    TWO_IN_THREADS,
    blocks_of,
    count_tasks,
    fresh,
    local,
    pool_of,
    started,
    stored,
    until,
)
from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.inference.cluster import WORKER_ENVIRONMENT, local_cluster
from wsi_necrosis.inference.dispatch import BLOCKS_AHEAD
from wsi_necrosis.inference.job import Job
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore


def test_a_failing_block_is_an_error_and_the_workers_go_on(job: Job) -> None:
    block, px = blocks_of(job)[0]
    with started(local(workers=1)) as pool:
        with pytest.raises(WsiNecrosisError, match="the same command resumes"):
            list(pool.score(job, [(block, px[..., :3])]))  # a term is missing
        assert [done.block for done in pool.score(job, [(block, px)])] == [block]


def test_blocks_are_sent_a_few_at_a_time(job: Job) -> None:
    taken, tasks = [], []
    many = blocks_of(job)[:12]
    with started(local(workers=2)) as pool:
        for finished, _ in enumerate(pool.score(job, (taken.append(0) or each for each in many))):
            tasks.append(count_tasks(pool))
            assert len(taken) <= finished + 1 + 2 * BLOCKS_AHEAD
    assert len(tasks) == len(taken) == len(many)
    assert max(tasks) <= 2 * BLOCKS_AHEAD + 1  # the one that was just given back


def test_a_worker_that_refuses_is_left_out(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = fresh(job, tmp_path)

    def make_it_refuse(dask_worker: object) -> None:
        def refuse(_: Job) -> None:
            raise UsageError("a worker does not see the output")

        dask_worker.plugins[name].open = refuse

    with pool_of(local_cluster(TWO_IN_THREADS)) as pool:
        name, bad = pool.name, next(iter(pool.threads()))
        pool.client.run(make_it_refuse, workers=[bad])
        done = list(pool.score(elsewhere, blocks_of(elsewhere)))
        assert len(done) == len(blocks_of(job))
        assert [record.args[:2] for record in caplog.records if "left out" in record.msg] == [
            (bad, job.slide)
        ]
        pool.client.run(make_it_refuse)
        with pytest.raises(UsageError, match="does not see the output"):
            list(pool.score(elsewhere, blocks_of(elsewhere)))
    assert stored(elsewhere) == stored(job)


def poison(name: str) -> WorkerPlugin:
    """A plugin that kills a worker's process when a block of this name starts; a local class is pickled by value."""

    class Poison(WorkerPlugin):
        def setup(self, worker: object) -> None:
            self.worker = worker

        def transition(self, key: str, start: str, finish: str, **_: object) -> None:
            arguments = self.worker.state.tasks[key].run_spec.args if finish == "executing" else ()
            if any(getattr(argument, "name", None) == name for argument in arguments):
                os.kill(os.getpid(), 9)

    return Poison()


@pytest.mark.slow
def test_a_block_that_kills_its_workers_costs_that_block(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = fresh(job, tmp_path)
    blocks = blocks_of(job)
    lost = blocks[1][0]
    with started(local(workers=1, processes=True)) as pool:
        pool.client.register_plugin(poison(lost.name), name="poison")
        done = list(pool.score(elsewhere, blocks))
    assert sorted(each.block.name for each in done) == sorted(block.name for block, _ in blocks)
    assert [record.args for record in caplog.records if "unreadable" in record.msg] == [
        (lost.name, job.slide)
    ]
    before, after = ScoreStore(job.folder), ScoreStore(elsewhere.folder)
    for block, px in blocks:
        found, expected = after.read_block(block), before.read_block(block)
        if block == lost:
            tissue = px[..., 1] > 0
            assert (found.state[tissue] == CellState.UNREADABLE).all()
            assert np.array_equal(found.px[..., 2][tissue], px[..., 1][tissue] + px[..., 2][tissue])
            assert not found.px[..., 1].any()
        else:
            assert np.array_equal(found.prob, expected.prob, equal_nan=True)
            assert np.array_equal(found.state, expected.state)
        assert after.is_done(block)


@contextmanager
def dask_command(*words: str) -> Iterator[subprocess.Popen]:
    """Run a `dask` command for the duration of the context."""
    command = [str(Path(sys.executable).with_name("dask")), *words]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_killed_worker_costs_its_blocks_again_and_nothing_else(job: Job, tmp_path: Path) -> None:
    """A scheduler and two workers as processes of their own; one worker is killed while it has blocks."""
    elsewhere, contact = fresh(job, tmp_path / "out"), tmp_path / "scheduler.json"
    many = blocks_of(job) * 2
    worker = ("worker", "--scheduler-file", str(contact), "--nthreads", "1", "--no-dashboard")
    with (
        dask_command(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--scheduler-file",
            str(contact),
            "--no-dashboard",
        ),
        dask_command(*worker, "--no-nanny", "--name", "victim") as victim,
        dask_command(*worker, "--name", "survivor"),
    ):
        until(contact.exists)
        with Client(scheduler_file=str(contact)) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
            names = {
                info["name"]: key for key, info in client.scheduler_info(n_workers=-1)["workers"].items()
            }
        with started(local(scheduler=address)) as pool:
            scoring = pool.score(elsewhere, many)
            done = [next(scoring)]
            while True:
                # Stopped, it finishes no block while those that it has are asked for.
                os.kill(victim.pid, signal.SIGSTOP)
                unfinished = pool.client.processing()[names["victim"]]
                if unfinished:
                    break
                os.kill(victim.pid, signal.SIGCONT)
                done.append(next(scoring))
            assert len(done) < len(many)
            os.kill(victim.pid, signal.SIGKILL)
            assert victim.wait() == -signal.SIGKILL
            done.extend(scoring)
            assert set(pool.client.nthreads()) == {names["survivor"]}
    assert sorted(each.block.name for each in done) == sorted(block.name for block, _ in many)
    assert stored(elsewhere) == stored(job)
