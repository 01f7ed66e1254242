import json
from pathlib import Path

import pytest

from tests.helpers.runs import run
from wsi_necrosis.inference.plan import Plan, make_plan
from wsi_necrosis.pipelines.batch.forecast import ASSUMED, FINISH_S, READ_S, Forecast
from wsi_necrosis.settings.run import Settings, load_settings
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.slides.slide import open_slide


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings(overrides=["model.name=phantom", "cluster.workers=2"])


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "a.tiff"
    write_phantom(path, side_mm=0.5)
    return path


@pytest.fixture(scope="module")
def plan(slide: Path, settings: Settings) -> Plan:
    with open_slide(slide) as opened:
        return make_plan(opened, settings)


@pytest.fixture(scope="module")
def out(slide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished slides: 100 tiles in 5 s and 300 in 5 s, finished in 1 and 2 s; and a third by other settings."""
    folder = tmp_path_factory.mktemp("out")
    for name, tiles, finish_s in (("a", 100, 1), ("b", 300, 2)):
        run(slide, folder / "slides" / name, "cluster.workers=2")
        set_costs(folder / "slides" / name, tiles, finish_s)
    run(slide, folder / "slides" / "c", "cluster.workers=2", "grid.stride_tiles=0.5")
    return folder


def set_costs(folder: Path, tiles: int, finish_s: float) -> None:
    path = folder / "perf.json"
    seconds = {"score": 5.0, "measure": 0.25, "export": finish_s - 0.25}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tiles": tiles, "seconds": seconds}))


def test_without_finished_slides_the_model_is_timed_once(
    plan: Plan, settings: Settings, tmp_path: Path
) -> None:
    timed = []
    forecast = Forecast(settings, tmp_path, lambda *given: timed.append(given) or 1 - READ_S)
    assert forecast.seconds(plan, 1000) == pytest.approx(500)  # by two at once
    assert forecast.seconds(plan, 0) == FINISH_S
    assert len(timed) == 1
    assert forecast.basis() == ASSUMED
    assert forecast.disk_mb(plan) > 1


def test_finished_slides_of_the_same_model_and_grid_say_how_long(
    plan: Plan, settings: Settings, out: Path
) -> None:
    """Scoring and what follows overlap, so that the slower of the two counts."""
    forecast = Forecast(settings, out, pytest.fail)
    assert forecast.seconds(plan, 4000) == pytest.approx(4000 * 10 / 400)
    assert forecast.seconds(plan, 1) == pytest.approx(1.5)
    assert forecast.basis().startswith(f"2 finished slides in {out} with the same model")


def test_disk_is_that_of_finished_slides(plan: Plan, settings: Settings, out: Path) -> None:
    files = [
        path for path in (out / "slides" / "a").rglob("*") if path.is_file() and path.name != "hashes.json"
    ]
    size = sum(path.stat().st_size for path in files if path.name != "perf.json")  # rewritten by the fixture
    assert Forecast(settings, out).disk_mb(plan) == pytest.approx(size / 1e6, rel=0.01)


@pytest.mark.parametrize("name", ["perf.json", "hashes.json", "result.json"])
def test_a_damaged_slide_has_no_say(
    slide: Path, plan: Plan, settings: Settings, tmp_path: Path, name: str
) -> None:
    folder = run(slide, tmp_path / "slides" / "a", "cluster.workers=2").folder
    (folder / name).write_text("{}")
    forecast = Forecast(settings, tmp_path, lambda *_: 1.0)
    forecast.seconds(plan, 1)
    assert forecast.basis() == ASSUMED
