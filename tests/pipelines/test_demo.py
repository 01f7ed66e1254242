from functools import partial
from pathlib import Path

import pytest

from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines import demo as module
from wsi_necrosis.settings.run import load_settings


def test_the_demo_sets_what_was_found_beside_what_was_painted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a small slide; the test of the wheel runs the shipped size with narrower limits."""
    monkeypatch.setattr(module, "write_phantom", partial(module.write_phantom, side_mm=1.2))
    settings = load_settings(overrides=["model.name=phantom", "quantify.min_tumour_mm2=0.01"])
    said = module.demo(tmp_path, 0, settings, QuietWatcher())
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    for title in ("Non-tumour", "Non-viable tumour", "Viable tumour", "Percent viable"):
        assert abs(float(rows[title].rsplit(None, 2)[1])) < 2, said
    focus = next(line for line in said.splitlines() if "smaller than a tile" in line)
    assert float(focus.split("P(viable) ")[1].split()[0]) < 0.1  # a fiftieth of its cell's area
    assert (tmp_path / "phantom" / "phantom-0.truth.json").is_file()
    assert (tmp_path / "summary.csv").is_file()
