import ast
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import dask
import numba
import pytest
import torch
from distributed import Client, LocalCluster, Security, SpecCluster

from tests.helpers.pools import blocks_of, fresh, local, started, stored
from wsi_necrosis.errors import UsageError
from wsi_necrosis.inference.cluster import (
    WORKER_ENVIRONMENT,
    WorkerShape,
    count_workers,
    cuda_devices,
    local_cluster,
    worker_shapes,
)
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.pool import WorkerPool

ROOT = Path(__file__).resolve().parents[2]


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


REFUSED = r"Timed out|reset by peer|TLS|SSL"


def test_processes_of_a_local_cluster_let_nobody_else_in(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, temporary = fresh(job, tmp_path), tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))  # other tests make folders in the usual one
    with started(local(workers=2, processes=True)) as pool:
        addresses = [pool.client.scheduler.address, *pool.threads()]
        assert len(addresses) == 3
        for address in addresses:
            assert address.startswith("tls://127.0.0.1:")
            plain = address.replace("tls://", "tcp://")
            with pytest.raises(OSError, match=REFUSED):
                Client(plain, timeout=1)
            with pytest.raises(OSError, match=REFUSED):  # a certificate of one's own is not enough
                Client(address, security=Security.temporary(), timeout=1)
        folders = set(pool.client.run(lambda dask_worker: dask_worker.local_directory).values())
        assert len(list(pool.score(elsewhere, blocks_of(elsewhere)))) == len(blocks_of(job))
        new = [path for path in temporary.iterdir() if path.name.startswith("wsi-necrosis-")]
        assert {folder.split("/dask-scratch-space")[0] for folder in folders} == set(map(str, new))
        assert [path.stat().st_mode & 0o077 for path in new] == [0]
    assert not any(path.exists() for path in new)
    assert stored(elsewhere) == stored(job)


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


DEADLY = """
import os
from distributed import Client
from distributed.nanny import WorkerProcess
from wsi_necrosis.inference.cluster import WorkerShape, local_cluster

if __name__ == "__main__":
    WorkerProcess._init_msg_interval = 2.0  # seconds between two looks for the first message of a process
    with local_cluster([WorkerShape(1, {})]) as cluster, Client(cluster) as client:
        for _ in range(3):
            print(type(client.submit(os._exit, 9, pure=False).exception()).__name__)
        print(client.submit(int, "7").result())
"""


@pytest.mark.slow
def test_a_cluster_ends_whose_processes_died_before_their_nanny_heard_of_their_start(tmp_path: Path) -> None:
    """The wait between two looks is made long, so that this happens each time."""
    script = tmp_path / "deadly.py"
    script.write_text(DEADLY, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=180
    )
    assert (ended.returncode, ended.stdout.split()) == (0, ["KilledWorker"] * 3 + ["7"])


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


def test_workers_that_end_late_are_no_error_and_hide_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask waits a few seconds for killed processes, which a busy machine may exceed."""
    close = SpecCluster.close

    def late(cluster: SpecCluster) -> None:
        close(cluster)
        raise TimeoutError

    monkeypatch.setattr(SpecCluster, "close", late)
    with pytest.raises(KeyError, match="within"), local_cluster([WorkerShape(1)]):
        raise KeyError("within")
    with local_cluster([WorkerShape(1)]) as cluster:
        assert len(cluster.workers) == 1


def test_the_page_names_the_environment_of_workers() -> None:
    text = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
    assert [
        f"{name}={value}" for name, value in WORKER_ENVIRONMENT.items() if f"{name}={value}" not in text
    ] == []


def test_the_scheduler_keeps_nothing_where_any_user_may_have_put_it_before() -> None:
    with local_cluster([WorkerShape(1)]) as cluster:
        folder = Path(cluster.scheduler.local_directory)
        assert folder.parents[1].name.startswith("wsi-necrosis-")
    assert not folder.exists()
