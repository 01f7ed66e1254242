from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.helpers.command import in_process
from wsi_necrosis.inference.job import Job
from wsi_necrosis.pipelines.sensitivity import describe


def test_a_finished_slide_is_measured_at_each_threshold(job: Job, tmp_path: Path) -> None:
    before = set(job.folder.rglob("*"))
    said = in_process("sensitivity", str(job.folder)).stdout
    assert "slide.tiff: percent viable by setting" in said
    assert "[by_class] too_little_tumour" in said
    assert set(job.folder.rglob("*")) == before
    shutil.copytree(job.folder, tmp_path / "slides" / "slide.tiff")
    rows = json.loads(in_process("sensitivity", str(tmp_path), "--json").stdout)
    assert {row["slide_id"] for row in rows} == {"slide.tiff"}
    assert len((tmp_path / "sensitivity.csv").read_text().splitlines()) == 1 + len(rows)
    assert in_process("sensitivity", str(tmp_path / "none")).returncode == 2


def test_values_in_force_are_in_brackets() -> None:
    row = {
        "slide_id": "a",
        "setting": "max_ood",
        "value": 1e9,
        "is_set": False,
        "percent_viable": 12.345,
        "reason": None,
    }
    said = describe([row, row | {"value": 1.0, "is_set": True}])
    assert said.endswith("max_ood          none 12.3   [1.0] 12.3")
