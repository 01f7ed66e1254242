from __future__ import annotations

from dataclasses import replace

import pytest

from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.inference.speed import faster_model, seconds_per_tile
from wsi_necrosis.model.backend import REFERENCE, Backend
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide

SETTINGS = load_settings(overrides=["model.backend=torch", "model.dtype=float32", "model.device=cpu"])
SECONDS = {"default": 0.06, "fast": 0.01}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("slide") / "small.tiff"
    write_phantom(path, side_mm=0.5)
    with open_slide(path) as slide:
        return make_plan(slide, SETTINGS)


def timed(name: str, backend: Backend, batch_tiles: int) -> float:
    assert (backend, batch_tiles) == (REFERENCE, 4)
    return SECONDS[name]


def said(plan: Plan, tiles: int, workers: int = 1) -> str | None:
    return faster_model(plan, SETTINGS.model, tiles, workers, timed)


def test_the_faster_model_is_named_from_an_hour_on(plan: Plan) -> None:
    hour = 3600 / (SECONDS["default"] - SECONDS["fast"])
    assert said(plan, int(0.9 * hour)) is None
    assert said(plan, int(2 * hour)) == (
        "--model fast would save about 2.0 h; see the model card for what it costs in accuracy"
    )


def test_time_is_shared_by_workers_and_not_on_a_gpu(plan: Plan) -> None:
    assert said(plan, 120_000, workers=1) is not None
    assert said(plan, 120_000, workers=4) is None
    on_gpu = replace(plan, backend=Backend("torch", "cuda"))
    found = faster_model(on_gpu, SETTINGS.model, 120_000, 4, lambda name, *_: SECONDS[name])
    assert found is not None


def test_few_tiles_and_other_models_are_not_timed(plan: Plan) -> None:
    def never(*_: object) -> float:
        raise AssertionError

    assert faster_model(plan, SETTINGS.model, 1_000, 1, never) is None
    assert faster_model(replace(plan, model="fast"), SETTINGS.model, 10**7, 1, never) is None


def test_the_time_of_a_tile_is_the_median_batch_after_a_first_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 90, 100, 101, 200, 208, 300, 302])  # batches of 90 (not counted), 1, 8 and 2 s
    monkeypatch.setattr("wsi_necrosis.inference.speed.time.perf_counter", lambda: next(clock))
    assert seconds_per_tile("phantom", REFERENCE, 2) == 2 / 2
