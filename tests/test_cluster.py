import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from distributed import LocalCluster

from wsi_necrosis.analysis import Request, analyse
from wsi_necrosis.checkpoint import load_spec
from wsi_necrosis.cluster import Job, check_sight, connected, count_workers, run_blocks
from wsi_necrosis.errors import UsageError, WsiNecrosisError
from wsi_necrosis.normalise import Normaliser
from wsi_necrosis.phantom import write_phantom
from wsi_necrosis.pipelines.watch import QuietWatcher
from wsi_necrosis.provenance import slide_fingerprint
from wsi_necrosis.scores import ScoreStore
from wsi_necrosis.settings import ClusterSettings, load_settings
from wsi_necrosis.slide import open_slide


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A job on a finished store, so that any of its blocks can be scored again."""
    folder = tmp_path_factory.mktemp("cluster")
    slide = folder / "slide.tiff"
    write_phantom(slide, np.random.default_rng(0), side_mm=1.5)
    settings = load_settings(overrides=["model.name=phantom", "grid.block_cells=16"])
    analyse(Request(slide, slide.name, folder / "out"), settings, QuietWatcher())
    with open_slide(slide) as opened:
        mpp = opened.info.known_mpp
    store = ScoreStore(folder / "out")
    return Job(
        slide=slide,
        mpp=mpp,
        fingerprint=slide_fingerprint([slide]),
        model="phantom",
        model_fingerprint=load_spec("phantom").fingerprint,
        device="cpu",
        grid=store.grid,
        batch_tiles=16,
        folder=folder / "out",
    )


def local(**changes: object) -> ClusterSettings:
    return load_settings().cluster.model_copy(update=changes)


def waiting(job: Job) -> list:
    px = ScoreStore(job.folder).read().px
    return [(block, px[block.cells]) for block in job.grid.blocks() if px[block.cells][..., 1].any()]


def test_a_job_travels(job: Job) -> None:
    again = pickle.loads(pickle.dumps(job))  # noqa: S301  # our own bytes
    assert again == job
    assert len(pickle.dumps(job)) < 10_000
    check_sight(again)
    fitted = dataclasses.replace(job, normaliser=Normaliser("macenko", ((0.9, 0.1, 0.0),) * 3))
    assert pickle.loads(pickle.dumps(fitted)) == fitted != job  # noqa: S301  # our own bytes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.0"}, "install the same"),
        ({"model_fingerprint": "other"}, "another model"),
        ({"folder": Path("/nowhere")}, "file system that all share"),
        ({"fingerprint": "other"}, "same file everywhere"),
    ],
)
def test_a_worker_that_cannot_do_the_job_refuses(job: Job, change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_sight(dataclasses.replace(job, **change))


def test_the_clients_error_is_the_workers(job: Job) -> None:
    broken = dataclasses.replace(job, version="0.0.0")
    with pytest.raises(UsageError, match="install the same"):
        list(run_blocks(broken, waiting(job), local(workers=1)))


def test_a_failing_block_is_named_and_the_cluster_ends(job: Job) -> None:
    block, px = waiting(job)[0]
    with pytest.raises(WsiNecrosisError, match="the same command resumes"):
        list(run_blocks(job, [(block, px[..., :3])], local(workers=1)))  # a term is missing


@pytest.mark.slow
def test_an_address_is_used_and_left_running(job: Job, tmp_path: Path) -> None:
    before = ScoreStore(job.folder).read()
    for record in (job.folder / "blocks").iterdir():
        record.unlink()
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=0) as cluster:
        done = list(run_blocks(job, waiting(job), local(scheduler=cluster.scheduler_address)))
        assert len(cluster.workers) == 2
        with connected(local(scheduler=cluster.scheduler_address)) as client:
            held = client.run(lambda dask_worker: [name for name in dask_worker.plugins if "wsi" in name])
            assert set(map(tuple, held.values())) == {()}
    after = ScoreStore(job.folder).read()
    assert len(done) == len(waiting(job))
    assert np.array_equal(before.prob, after.prob, equal_nan=True)
    records = [json.loads(path.read_text()) for path in (job.folder / "blocks").iterdir()]
    assert len(records) == len(done)


def test_workers_default_to_the_cores_at_hand() -> None:
    assert count_workers(local(workers=3)) == 3
    assert count_workers(local(workers=0)) >= 1
