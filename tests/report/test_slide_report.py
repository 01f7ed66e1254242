from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.errors import StoreError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.settings.run import load_settings


def test_a_folder_opens_without_its_slide(job: Job) -> None:
    report = open_results(str(job.folder))
    assert report.folder == job.folder
    assert report.percent_viable == report.result["percent_viable"]
    assert report.status == report.result["status"]
    assert [asdict(each) for each in report.warnings] == report.result["warnings"] != []
    np.testing.assert_array_equal(report.tissue().mask.kind.shape, report.tissue().overview.rgb.shape[:2])


def test_the_heatmap_is_labelled_under_the_settings(job: Job) -> None:
    strict = load_settings(overrides=["quantify.max_uncertainty=0.0"])
    for settings in (load_settings(), strict):
        report = open_results(job.folder, settings)
        expected = stitch(report.scores(), settings.quantify)
        np.testing.assert_array_equal(report.heatmap().label, expected.label)
    assert not np.array_equal(
        open_results(job.folder, strict).heatmap().label, open_results(job.folder).heatmap().label
    )


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"result\.json cannot be read"):
        open_results(tmp_path)
