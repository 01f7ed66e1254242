import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import dask
import numba
import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster, Security, WorkerPlugin

from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.inference.cluster import (
    WORKER_ENVIRONMENT,
    WorkerShape,
    count_workers,
    cuda_devices,
    local_cluster,
    worker_shapes,
)
from wsi_necrosis.inference.dispatch import BLOCKS_AHEAD
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.pool import WorkerPool
from wsi_necrosis.scores.block_scores import CellState
from wsi_necrosis.scores.store import ScoreStore
from wsi_necrosis.settings.run import ClusterSettings, load_settings

ROOT = Path(__file__).resolve().parents[2]
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
    """Every file of a job's store by name."""
    places = (job.folder / "scores.zarr", job.folder / "blocks")
    files = (file for place in places for file in place.rglob("*") if file.is_file())
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


def held(pool: WorkerPool) -> list[list[str]]:
    """Jobs that each worker holds."""
    name = pool.name
    return list(pool.client.run(lambda dask_worker: dask_worker.plugins[name].holds()).values())


def count_tasks(pool: WorkerPool) -> int:
    return pool.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))


def test_the_clients_error_is_the_workers(job: Job) -> None:
    with started(local(workers=1)) as pool, pytest.raises(UsageError, match="install the same"):
        list(pool.score(replace(job, version="0.0.0"), blocks_of(job)))


def test_a_failing_block_is_named_and_the_crew_goes_on(job: Job) -> None:
    block, px = blocks_of(job)[0]
    with started(local(workers=1)) as pool:
        with pytest.raises(WsiNecrosisError, match="the same command resumes"):
            list(pool.score(job, [(block, px[..., :3])]))  # a term is missing
        assert [done.block for done in pool.score(job, [(block, px)])] == [block]


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


def test_blocks_are_sent_a_few_at_a_time(job: Job) -> None:
    taken, tasks = [], []
    many = blocks_of(job)[:12]
    with started(local(workers=2)) as pool:
        for finished, _ in enumerate(pool.score(job, (taken.append(0) or each for each in many))):
            tasks.append(count_tasks(pool))
            assert len(taken) <= finished + 1 + 2 * BLOCKS_AHEAD
    assert len(tasks) == len(taken) == len(many)
    assert max(tasks) <= 2 * BLOCKS_AHEAD + 1  # the one in hand


def test_an_iterator_that_is_closed_early_closes_the_slide(job: Job) -> None:
    with started(local(workers=1)) as pool:
        with closing(pool.score(job, blocks_of(job))) as some:
            next(some)
            assert held(pool) == [[job.key]]
        assert held(pool) == [[]]
        until(lambda: count_tasks(pool) == 0)  # cancelling is a message on its way


def test_a_worker_that_refuses_is_left_out(
    job: Job, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = fresh(job, tmp_path)

    def blind(dask_worker: object) -> None:
        def desk(_: Job) -> None:
            raise UsageError("a worker does not see the output")

        dask_worker.plugins[name].desk = desk

    with pool_of(local_cluster(TWO_IN_THREADS)) as pool:
        name, bad = pool.name, next(iter(pool.threads()))
        pool.client.run(blind, workers=[bad])
        done = list(pool.score(elsewhere, blocks_of(elsewhere)))
        assert len(done) == len(blocks_of(job))
        assert [record.args[:2] for record in caplog.records if "left out" in record.msg] == [
            (bad, job.slide)
        ]
        pool.client.run(blind)
        with pytest.raises(UsageError, match="does not see the output"):
            list(pool.score(elsewhere, blocks_of(elsewhere)))
    assert stored(elsewhere) == stored(job)


def test_an_address_is_used_and_left_running_and_late_workers_help(job: Job, tmp_path: Path) -> None:
    elsewhere = fresh(job, tmp_path)
    with LocalCluster(
        1, 1, processes=False, dashboard_address=":0", memory_limit=0, protocol="tcp"
    ) as cluster:
        settings = local(scheduler=cluster.scheduler_address)
        WorkerPool(settings).require_scheduler()
        with started(settings) as pool:
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


def test_workers_default_to_the_cores_at_hand() -> None:
    assert count_workers(local(workers=3)) == 3
    assert count_workers(local(workers=0)) >= 1


def gpu(name: str) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": name}


@pytest.mark.parametrize(
    ("processes", "gpus", "expected"),
    [
        (False, (), [WorkerShape(6)]),
        (True, (), [WorkerShape(1, {})] * 6),
        (False, ("0",), [WorkerShape(6)]),  # one GPU needs no process of its own
        (True, ("0",), [WorkerShape(6, gpu("0"))]),
        (False, ("2", "3"), [WorkerShape(3, gpu("2")), WorkerShape(3, gpu("3"))]),
        (True, tuple("01234567"), [WorkerShape(1, gpu(name)) for name in "01234567"]),
    ],
)
def test_a_process_for_each_gpu(processes: bool, gpus: tuple[str, ...], expected: list[WorkerShape]) -> None:
    assert worker_shapes(local(workers=6, processes=processes), gpus) == expected


def test_gpus_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8932f937")
    assert cuda_devices("cuda") == ("3", "GPU-8932f937")
    assert cuda_devices("cpu") == cuda_devices("mps") == ()


# TLS ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A certificate that is its own authority, as settings of Dask."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = str(folder / "key.pem"), str(folder / "cert.pem")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=wsi-necrosis"]
    subprocess.run([openssl, *made, "-keyout", key, "-out", cert], check=True, capture_output=True)
    roles = {
        f"{role}.{part}": path
        for role in ("client", "scheduler", "worker")
        for part, path in (("key", key), ("cert", cert))
    }
    return {f"distributed.comm.tls.{name}": path for name, path in {"ca-file": cert, **roles}.items()}


def test_a_tls_scheduler_takes_those_with_a_certificate(
    job: Job, certificate: dict[str, str], tmp_path: Path
) -> None:
    elsewhere = fresh(job, tmp_path)
    with dask.config.set(certificate):
        cluster = LocalCluster(
            1, 2, processes=False, protocol="tls", security=Security(), dashboard_address=":0", memory_limit=0
        )
    with cluster:
        settings = local(scheduler=cluster.scheduler_address)
        assert settings.scheduler.startswith("tls://")
        with pytest.raises(UsageError, match="no certificate"):
            WorkerPool(settings).require_scheduler()
        with dask.config.set(certificate), started(settings) as pool:
            list(pool.score(elsewhere, blocks_of(elsewhere)))
    assert stored(elsewhere) == stored(job)


# Processes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_of_a_gpu_each_score_the_same(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The devices are not there; the model is told to stay on the processor."""
    elsewhere = fresh(job, tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    wanted = ["CUDA_VISIBLE_DEVICES", *WORKER_ENVIRONMENT]
    with started(local(workers=4), "cuda") as pool:
        list(pool.score(elsewhere, blocks_of(elsewhere)))
        found = pool.client.run(lambda: (os.getpid(), [os.environ[name] for name in wanted]))
        threads = pool.client.run(lambda: (torch.get_num_threads(), numba.get_num_threads()))
        assert set(threads.values()) == {(1, 1)}
        assert set(pool.threads().values()) == {2}
    pids, environments = zip(*found.values(), strict=True)
    assert len({*pids, os.getpid()}) == 3
    common = list(WORKER_ENVIRONMENT.values())
    assert sorted(environments) == [["3", *common], ["5", *common]]
    assert stored(elsewhere) == stored(job)


def poison(name: str) -> WorkerPlugin:
    """Kills the process of a worker that begins with a block of this name; by value, so that it travels."""

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
    """A `dask` command that runs meanwhile."""
    command = [str(Path(sys.executable).with_name("dask")), *words]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.slow
def test_a_killed_worker_costs_its_blocks_again_and_nothing_else(job: Job, tmp_path: Path) -> None:
    """A scheduler and two workers as processes of their own, one of which is killed with blocks in hand."""
    elsewhere, card = fresh(job, tmp_path / "out"), tmp_path / "scheduler.json"
    many = blocks_of(job) * 2
    worker = ("worker", "--scheduler-file", str(card), "--nthreads", "1", "--no-dashboard")
    with (
        dask_command(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(card), "--no-dashboard"
        ),
        dask_command(*worker, "--no-nanny", "--name", "victim") as victim,
        dask_command(*worker, "--name", "survivor"),
    ):
        until(card.exists)
        with Client(scheduler_file=str(card)) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
            names = {
                info["name"]: key for key, info in client.scheduler_info(n_workers=-1)["workers"].items()
            }
        with started(local(scheduler=address)) as pool:
            scoring = pool.score(elsewhere, many)
            done = [next(scoring)]
            while True:
                os.kill(
                    victim.pid, signal.SIGSTOP
                )  # it can finish nothing while we look at what it has in hand
                in_hand = pool.client.processing()[names["victim"]]
                if in_hand:
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


# Recipes --------------------------------------------------------------------------------------------------------


def recipe() -> dict[str, object]:
    """What docs/cluster.md passes to SLURMCluster."""
    code = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    call = next(node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and node.keywords)
    names = {"WORKER_ENVIRONMENT": WORKER_ENVIRONMENT}
    compiled = ((each.arg, compile(ast.Expression(each.value), "recipe", "eval")) for each in call.keywords)
    return {name: eval(value, names) for name, value in compiled}  # noqa: S307  # our own page


def test_the_slurm_recipe_asks_for_one_block_per_process() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    with jobqueue.SLURMCluster(**recipe()) as cluster:
        script = cluster.job_script()
        assert cluster.scheduler.allowed_failures == 1
    wanted = [f"export {name}={value}" for name, value in WORKER_ENVIRONMENT.items()]
    wanted += [
        "--cpus-per-task=16",
        "--nthreads 1 ",
        "--nworkers 16 ",
        "--nanny ",
        "--lifetime 11h",
        "-t 12:00:00",
    ]
    assert [line for line in wanted if line not in script] == []


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the stand-in waits for no process
def test_the_slurm_recipe_starts_workers_here() -> None:
    """By dask-jobqueue's stand-in for a queue, which takes a command and no script."""
    local_queue = pytest.importorskip("dask_jobqueue.local")
    options = {**recipe(), "cores": 2, "processes": 2, "memory": "8GB"}
    del options["queue"], options["walltime"], options["job_script_prologue"]
    options["scheduler_options"] = {**options["scheduler_options"], "host": "127.0.0.1"}
    with local_queue.LocalCluster(**options) as cluster, Client(cluster) as client:
        cluster.scale(jobs=1)
        client.wait_for_workers(2, timeout=60)
        assert set(client.nthreads().values()) == {1}
        assert os.getpid() not in client.run(os.getpid).values()


def test_the_page_names_the_environment_of_workers() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert [
        f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items() if f"{name}={value}" not in text
    ] == []
