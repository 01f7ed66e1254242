import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import in_process
from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.bench import bench, describe
from wsi_necrosis.settings.run import load_settings
from wsi_necrosis.slides.phantom import write_phantom


def test_a_slide_is_run_and_nothing_is_kept(tmp_path: Path) -> None:
    slide = tmp_path / "slide.tiff"
    write_phantom(slide, np.random.default_rng(3), side_mm=1.0)
    before = set(tmp_path.iterdir())
    settings = load_settings(overrides=["model.name=phantom", "cluster.workers=2"])
    found = bench(slide, settings, None, QuietWatcher())
    assert found.wall_seconds >= found.perf["seconds"]["score"] > 0
    assert found.cores_busy is not None
    assert found.cores_busy > 0
    assert found.perf["decoded_over_needed"] >= 1
    said = describe(found)
    assert said.startswith("slide.tiff\n  tiles       ")
    for word in ("such slides a day", "network", "times the pixels", "MB at most", "reader"):
        assert word in said
    assert set(tmp_path.iterdir()) == before


def test_the_command_prints_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slide = tmp_path / "slide.tiff"
    write_phantom(slide, np.random.default_rng(3), side_mm=1.0)
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    done = in_process("bench", str(slide), "--model", "phantom", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["slide"] == "slide.tiff"
    assert found["tiles"] > 0
    assert found["inputs"]["backend"]["batch_tiles"] == 4
    assert set(tmp_path.iterdir()) == before
