"""The Dask cluster that blocks run on: threads or processes of this machine, or a scheduler that is running."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

import dask
from dask.system import CPU_COUNT
from distributed import Client, Nanny, Scheduler, Security, SpecCluster, Worker

from wsi_necrosis.errors import UsageError
from wsi_necrosis.memory import ENVIRONMENT
from wsi_necrosis.settings.run import ClusterSettings

HERE = "127.0.0.1"
NO_DOOR = f"{HERE}:0"  # Dask serves HTTP in any case; nobody else may see slides
PATIENCE_S = 20  # for a scheduler to answer and have a worker
DEATHS = 2  # of its workers until Dask gives up on a block
# What worker processes start with: freed memory is kept, and a block has one thread of each library.
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
        Where models compute, from `backend.choose_device`. With "cuda" there is a process for each GPU that this
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
    """Blocks at once on this machine."""
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
    import torch  # takes three seconds, and nothing else here needs it

    return tuple(str(i) for i in range(torch.cuda.device_count()))


def worker_shapes(settings: ClusterSettings, gpus: tuple[str, ...] = ()) -> list[WorkerShape]:
    """The workers of a local cluster.

    Parameters
    ----------
    settings : ClusterSettings
        Blocks at once, and whether in processes.
    gpus : tuple of str
        Devices as CUDA_VISIBLE_DEVICES names them.

    Returns
    -------
    list of WorkerShape
        A process for each GPU, whose threads read and compute radiomics; or a process for each block at once; or
        all blocks at once in threads of this process.
    """
    workers = count_workers(settings)
    if len(gpus) > 1 or (gpus and settings.processes):
        threads = max(1, workers // len(gpus))
        return [WorkerShape(threads, {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in gpus]
    if settings.processes:
        return [WorkerShape(1, {}) for _ in range(workers)]
    return [WorkerShape(workers)]


@contextmanager
def local_cluster(shapes: Sequence[WorkerShape]) -> Iterator[SpecCluster]:
    """A Dask cluster on this machine, which listens to nobody else."""
    processes = any(shape.environment is not None for shape in shapes)
    place = {"protocol": "tcp://", "host": HERE} if processes else {"protocol": "inproc://"}
    common = {**place, "dashboard": False, "dashboard_address": NO_DOOR}
    scheduler = {"cls": Scheduler, "options": {**common, "port": 0, "allowed_failures": DEATHS - 1}}
    workers = {i: _worker(shape, common) for i, shape in enumerate(shapes)}
    manners = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,  # allocator and OpenMP read these at the start
        "distributed.deploy.lost-worker-timeout": "1 day",  # else Dask closes what dies twice within 15 s, for good
    }
    with (
        dask.config.set(manners),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as cluster,
    ):
        yield cluster


def _worker(shape: WorkerShape, common: Mapping[str, Any]) -> dict[str, Any]:
    options = {**common, "nthreads": shape.threads, "memory_limit": 0, "silence_logs": logging.CRITICAL}
    if shape.environment is None:
        return {"cls": Worker, "options": options}
    return {"cls": Nanny, "options": {**options, "env": {**WORKER_ENVIRONMENT, **shape.environment}}}


def _remote(address: str) -> Client:
    if address.startswith("tls://") and Security().get_connection_args("client").get("ssl_context") is None:
        raise UsageError(
            f"{address} asks for TLS and Dask has no certificate here; name ca-file, client.cert and client.key under "
            "distributed.comm.tls in Dask's configuration (docs/cluster.md)"
        )
    with ExitStack() as unless_it_works:
        try:
            client = unless_it_works.enter_context(closing(Client(address, timeout=PATIENCE_S)))
            client.wait_for_workers(1, timeout=PATIENCE_S)
        except (OSError, ValueError) as error:
            raise UsageError(
                f"no Dask scheduler with workers answers at {address} ({error}); start one with `dask scheduler`, or "
                "leave --scheduler away to run on this machine"
            ) from None
        unless_it_works.pop_all()
    return client
