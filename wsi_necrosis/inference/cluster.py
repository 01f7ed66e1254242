"""The Dask cluster that blocks run on: threads or processes of this machine, or an existing scheduler."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Status, Worker

from wsi_necrosis.errors import UsageError
from wsi_necrosis.memory import ENVIRONMENT
from wsi_necrosis.settings.run import ClusterSettings

LOCALHOST = "127.0.0.1"
LOCAL_HTTP = f"{LOCALHOST}:0"  # Dask always serves HTTP; other machines must not reach it
PATIENCE_S = 20  # for a scheduler to answer and have a worker
PRELOAD = "wsi_necrosis.inference.worker"  # module whose `dask_setup` each worker process calls first
WORKER_DEATHS = 2  # after which Dask gives up on a block
# Environment of worker processes: freed memory is kept, and each library uses one thread per block.
WORKER_ENVIRONMENT = {
    **ENVIRONMENT,
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"),
}


@contextmanager
def connected(settings: ClusterSettings, device: str = "cpu") -> Iterator[Client]:
    """A client of the cluster that the settings name; local workers end with the context.

    It may be entered in one thread and left in another, which Dask's own context of a client may not.

    Parameters
    ----------
    settings : ClusterSettings
        Workers, processes, scheduler.
    device : str
        Device of the models, from `backend.choose_device`. With "cuda" there is a process for each GPU that this
        process may use; a single GPU is shared by threads of this one unless processes are asked for.

    Raises
    ------
    UsageError
        The scheduler does not answer, or has no worker.
    """
    if settings.scheduler:
        with closing(_remote(settings.scheduler)) as client:
            yield client
    else:
        with (
            local_cluster(worker_shapes(settings, cuda_devices(device))) as cluster,
            closing(Client(cluster)) as client,
        ):
            yield client


def count_workers(settings: ClusterSettings) -> int:
    """Number of blocks that this machine scores at a time."""
    return settings.workers or CPU_COUNT


@dataclass(frozen=True)
class WorkerShape:
    """A worker of a local cluster: its threads, and the environment of its process; None is this process."""

    threads: int
    environment: Mapping[str, str] | None = None


def cuda_devices(device: str) -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none for another device."""
    if device != "cuda":
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named:
        return tuple(named.split(","))
    import torch  # takes three seconds; needed for GPUs only

    return tuple(str(i) for i in range(torch.cuda.device_count()))


def worker_shapes(settings: ClusterSettings, gpus: tuple[str, ...] = ()) -> list[WorkerShape]:
    """The workers of a local cluster.

    Parameters
    ----------
    settings : ClusterSettings
        Number of blocks at a time, and whether in processes.
    gpus : tuple of str
        Devices as CUDA_VISIBLE_DEVICES names them.

    Returns
    -------
    list of WorkerShape
        A process for each GPU, whose threads read and compute radiomics; or a process for each block scored at a
        time; or one thread of this process for each.
    """
    workers = count_workers(settings)
    if len(gpus) > 1 or (gpus and settings.processes):
        threads = max(1, workers // len(gpus))
        return [WorkerShape(threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]
    if settings.processes:
        return [WorkerShape(1, {}) for _ in range(workers)]
    return [WorkerShape(workers)]


class PatientNanny(Nanny):  # type: ignore[misc]  # Dask gives no type of it
    """A nanny that starts its worker's process again once the start before has ended.

    A process that dies before Dask's nanny has heard of its start is started again while the nanny still waits for its
    first message. The two waits take each other's messages, and the nanny can then not be closed (distributed 2026.7).
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._one_start = asyncio.Lock()

    async def instantiate(self) -> Status:
        """Start the worker's process; called by Dask."""
        async with self._one_start:
            return await super().instantiate()


@contextmanager
def local_cluster(shapes: Sequence[WorkerShape]) -> Iterator[SpecCluster]:
    """A Dask cluster on this machine, which other machines cannot reach, nor other users.

    Whoever reaches a worker can run code in it, so that processes talk by TLS with a certificate made for this
    cluster, which stays in memory. Workers' files go to a new folder that only this user may enter.
    """
    processes = any(shape.environment is not None for shape in shapes)
    with TemporaryDirectory(prefix="wsi-necrosis-", ignore_cleanup_errors=True) as scratch:
        security = Security.temporary() if processes else Security()
        address = {"protocol": "tls://", "host": LOCALHOST} if processes else {"protocol": "inproc://"}
        common = {**address, "dashboard": False, "dashboard_address": LOCAL_HTTP, "security": security}
        with _spec_cluster(shapes, common, scratch) as cluster:
            yield cluster


@contextmanager
def _spec_cluster(
    shapes: Sequence[WorkerShape], common: Mapping[str, Any], scratch: str
) -> Iterator[SpecCluster]:
    scheduler = {"cls": Scheduler, "options": {**common, "port": 0, "allowed_failures": WORKER_DEATHS - 1}}
    workers = {i: _worker(shape, {**common, "local_directory": scratch}) for i, shape in enumerate(shapes)}
    dask_settings = {
        "temporary-directory": scratch,  # else the scheduler's folder lies where any user may have put another
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,  # allocator and OpenMP read these at the start
        # Else Dask does not restart a worker that dies twice within 15 s.
        "distributed.deploy.lost-worker-timeout": "1 day",
        "distributed.scheduler.worker-ttl": None,  # `limit` ends a worker that hangs, and knows in which block
    }
    with dask.config.set(dask_settings):
        cluster = SpecCluster(
            workers=workers,
            scheduler=scheduler,
            security=common["security"],
            silence_logs=logging.CRITICAL,
        )
        try:
            yield cluster
        finally:
            # On a busy machine a process that was killed may outlive Dask's patience; what ended the run matters more.
            with suppress(TimeoutError):
                cluster.close()


def _worker(shape: WorkerShape, common: Mapping[str, Any]) -> dict[str, Any]:
    options = {**common, "nthreads": shape.threads, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    if shape.environment is None:
        return {"cls": Worker, "options": options}
    environment = {**WORKER_ENVIRONMENT, **shape.environment}
    return {"cls": PatientNanny, "options": {**options, "env": environment, "preload": [PRELOAD]}}


def _remote(address: str) -> Client:
    if address.startswith("tls://") and Security().get_connection_args("client").get("ssl_context") is None:
        raise UsageError(
            f"{address} asks for TLS and Dask has no certificate here; name ca-file, client.cert and client.key under "
            "distributed.comm.tls in Dask's configuration (docs/cluster.md)"
        )
    with ExitStack() as on_failure:
        try:
            client = on_failure.enter_context(closing(Client(address, timeout=PATIENCE_S)))
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Dask scheduler with workers answers at {address} ({error}); start one with `dask scheduler`, or "
                "leave --scheduler away to run on this machine"
            ) from None
        on_failure.pop_all()
    return client
