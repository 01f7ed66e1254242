from pathlib import Path

import pytest

from wsi_necrosis.inference.watcher import QuietWatcher
from wsi_necrosis.pipelines.demo import demo
from wsi_necrosis.settings.run import load_settings


@pytest.mark.slow
def test_the_demo_compares_with_the_truth_and_reports_the_focus(tmp_path: Path) -> None:
    said = demo(tmp_path, 0, load_settings(overrides=["model.name=phantom"]), QuietWatcher())
    rows = {line.split("  ")[0]: line for line in said.splitlines()}
    for title in ("Non-tumour", "Non-viable tumour", "Viable tumour"):
        error = float(rows[title].rsplit(None, 2)[1])
        assert abs(error) < 1
    assert abs(float(rows["Percent viable"].split()[-2])) < 1
    focus = next(line for line in said.splitlines() if "smaller than a tile" in line)
    assert float(focus.split("P(viable) ")[1].split()[0]) > 0.02  # the necrosis around it has far less
    assert (tmp_path / "summary.csv").is_file()
