import dataclasses
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.errors import SlideError, UsageError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.inference.worker import PoolPlugin, tiles_of
from wsi_necrosis.model.backend import Backend
from wsi_necrosis.scores.store import ScoreStore


def ready(name: str = "pool") -> PoolPlugin:
    plugin = PoolPlugin(name)
    plugin.setup(None)  # it does not use the worker
    return plugin


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "0.0.0"}, "install the same"),
        ({"model_fingerprint": "other"}, "another model"),
        ({"folder": Path("/nowhere")}, "file system that all share"),
        ({"fingerprint": "other"}, "same file everywhere"),
        ({"reader": "other"}, "the client with other"),
        ({"backend": Backend("openvino", "cuda", "float32")}, "on cuda|'cuda' is not available"),
    ],
)
def test_a_worker_that_cannot_do_the_job_refuses(job: Job, change: dict, message: str) -> None:
    plugin = ready()
    with pytest.raises(UsageError, match=message):
        plugin.open(dataclasses.replace(job, **change))
    assert plugin.holds() == []


def test_the_model_outlives_a_job_and_the_slide_does_not(job: Job, tmp_path: Path) -> None:
    plugin = ready()
    first = plugin.open(job)
    assert plugin.open(job) is first
    plugin.close(job.key)
    assert plugin.holds() == []
    with pytest.raises(SlideError, match="closed"):
        first.scorer.slide.read(job.grid.block_box(next(iter(job.grid.blocks()))), job.grid.mpp)
    second = plugin.open(dataclasses.replace(job, slide=_link(job.slide, tmp_path / "again.tiff")))
    assert second.scorer.model is first.scorer.model
    plugin.close(job.key)
    plugin.close(job.key)  # a job that is not open is no error


def test_tiles_are_cells_with_tissue() -> None:
    px = np.zeros((2, 3, 5), np.uint32)
    px[0, 1, 1] = 7
    px[1, 2, 1] = 1
    px[1, 1, 0] = 9  # background
    assert tiles_of(px) == 2


def test_a_job_has_the_store_it_names(job: Job) -> None:
    plugin = ready()
    assert plugin.open(job).store.folder == ScoreStore(job.folder).folder == job.folder
    plugin.close(job.key)


def _link(target: Path, link: Path) -> Path:
    link.symlink_to(target)
    return link
