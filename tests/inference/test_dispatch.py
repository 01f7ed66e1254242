import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster, WorkerPlugin

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
    until_failure,
)
from wsi_necrosis.errors import ReadError, UsageError, WsiNecrosisError
from wsi_necrosis.inference.cluster import WORKER_ENVIRONMENT, local_cluster
from wsi_necrosis.inference.dispatch import BLOCKS_AHEAD
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.scorer import Scorer
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.tiling.grid import Block


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


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often reads of blocks are still to fail as by an error of the system, by name; counts down below 0."""
    left: Counter[str] = Counter()
    score = Scorer.score

    def failing(self: Scorer, block: Block, *others: object) -> object:
        left[block.name] -= 1
        if left[block.name] >= 0:
            raise ReadError("the share is gone for a moment")
        return score(self, block, *others)

    monkeypatch.setattr(Scorer, "score", failing)
    return left


def test_a_block_that_cannot_be_read_at_first_is_tried_again_after_the_others(
    job: Job, tmp_path: Path, lost: Counter[str]
) -> None:
    elsewhere, blocks = fresh(job, tmp_path), blocks_of(job)
    lost[blocks[0][0].name] = 1
    with started(local(workers=1)) as pool:
        done = [each.block.name for each in pool.score(elsewhere, blocks)]
    assert done[-1] == blocks[0][0].name
    assert lost == {block.name: -1 for block, _ in blocks}
    assert sorted(done) == sorted(lost)
    assert stored(elsewhere) == stored(job)


def test_a_block_that_cannot_be_read_twice_fails_and_the_others_are_kept(
    job: Job, tmp_path: Path, lost: Counter[str]
) -> None:
    elsewhere, blocks = fresh(job, tmp_path), blocks_of(job)
    failing, px = blocks[1]
    lost[failing.name] = 2
    with started(local(workers=2)) as pool:
        done, error = until_failure(pool, elsewhere, blocks)
        assert lost[failing.name] == 0  # two tries
        assert (error.reason, error.exit_code) == ("read_error", 1)
        assert str(job.slide) in str(error)
        assert f"block {failing.name}: the share is gone for a moment" in str(error)
        assert sorted([*done, failing.name]) == sorted(block.name for block, _ in blocks)
        store = ScoreStore(elsewhere.folder)
        assert [block for block, _ in blocks if not store.is_done(block)] == [failing]
        assert (store.read_block(failing).state[px[..., 1] > 0] == CellState.FAILED).all()
        list(pool.score(elsewhere, [blocks[1]]))  # the next run
    assert stored(elsewhere) == stored(job)


@pytest.fixture
def short_of_memory(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often memory is still not to be enough for blocks, by name; counts down below 0."""
    left: Counter[str] = Counter()
    score = Scorer.score

    def failing(self: Scorer, block: Block, *others: object) -> object:
        left[block.name] -= 1
        if left[block.name] > 0:
            np.empty(1 << 50)  # a MemoryError of numpy
        if left[block.name] == 0:
            torch.empty(1 << 50)  # a RuntimeError of torch
        return score(self, block, *others)

    monkeypatch.setattr(Scorer, "score", failing)
    return left


def test_a_block_without_enough_memory_is_tried_again_when_it_is_alone(
    job: Job, tmp_path: Path, short_of_memory: Counter[str]
) -> None:
    elsewhere, blocks = fresh(job, tmp_path), blocks_of(job)
    short_of_memory[blocks[0][0].name] = 1
    with started(local(workers=2)) as pool:
        done = [each.block.name for each in pool.score(elsewhere, blocks)]
    assert done[-1] == blocks[0][0].name
    assert sorted(done) == sorted(block.name for block, _ in blocks)
    assert stored(elsewhere) == stored(job)


def test_a_block_without_enough_memory_twice_fails_and_the_others_are_kept(
    job: Job, tmp_path: Path, short_of_memory: Counter[str]
) -> None:
    elsewhere, blocks = fresh(job, tmp_path), blocks_of(job)
    failing = blocks[1][0].name
    short_of_memory[failing] = 2
    with started(local(workers=2)) as pool:
        done, error = until_failure(pool, elsewhere, blocks)
        assert (error.reason, short_of_memory[failing]) == ("out_of_memory", 0)
        assert f"block {failing}: out of memory (RuntimeError: " in str(error)
        assert sorted([*done, failing]) == sorted(block.name for block, _ in blocks)
        list(pool.score(elsewhere, [blocks[1]]))  # the next run
    assert stored(elsewhere) == stored(job)


def greedy(name: str) -> WorkerPlugin:
    """A plugin with which the scoring of a block takes memory without end; a local class is pickled by value."""

    class Greedy(WorkerPlugin):
        def setup(self, worker: object) -> None:
            from wsi_necrosis.inference.scorer import Scorer

            score = Scorer.score

            def taking(self: Scorer, block: Block, *others: object) -> object:
                taken = []
                while block.name == name:
                    taken.append(bytearray(100 << 20))
                    taken[-1][::4096] = b"x" * len(taken[-1][::4096])
                return score(self, block, *others)

            Scorer.score = taking

    return Greedy()


@pytest.mark.slow
def test_a_block_that_takes_more_than_a_worker_may_costs_that_block(job: Job, tmp_path: Path) -> None:
    """The nanny of a cluster ends the worker."""
    elsewhere, blocks = fresh(job, tmp_path), blocks_of(job)
    failing = blocks[1][0].name
    with (
        LocalCluster(1, 1, processes=True, dashboard_address=":0", memory_limit="1.5GiB") as cluster,
        started(local(scheduler=cluster.scheduler_address)) as pool,
    ):
        pool.client.register_plugin(greedy(failing), name="greedy")
        done, error = until_failure(pool, elsewhere, blocks)
    assert error.reason == "worker_lost"
    assert "out of memory" in str(error)
    assert sorted([*done, failing]) == sorted(block.name for block, _ in blocks)


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
        done, error = until_failure(pool, elsewhere, blocks)
    assert (error.reason, str(error).count(f"block {lost.name}: every worker")) == ("worker_lost", 1)
    assert sorted([lost.name, *done]) == sorted(block.name for block, _ in blocks)
    assert [record.args[:2] for record in caplog.records if "failed: " in record.msg] == [
        (lost.name, job.slide)
    ]
    before, after = ScoreStore(job.folder), ScoreStore(elsewhere.folder)
    for block, px in blocks:
        found, expected = after.read_block(block), before.read_block(block)
        if block == lost:
            tissue = px[..., 1] > 0
            assert (found.state[tissue] == CellState.FAILED).all()
            assert np.array_equal(found.px, px)
        else:
            assert np.array_equal(found.prob, expected.prob, equal_nan=True)
            assert np.array_equal(found.state, expected.state)
        assert after.is_done(block) == (block != lost)


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
