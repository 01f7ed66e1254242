import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wsi_necrosis as wn
from wsi_necrosis.errors import StoreError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.model.quantity import EndOfScale, EstimatorFigures, Quantity, quantity_facts
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.report.slide_report import open_results
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.settings.run import load_settings


def quantify_of(result: dict[str, Any]) -> dict[str, Any]:
    return result["provenance"]["settings"]["quantify"]


def edit_result(folder: Path, change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Change `result.json`; what it was is returned."""
    text = (folder / "result.json").read_text(encoding="utf-8")
    result = json.loads(text)
    change(result)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return json.loads(text)


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


def test_a_folder_is_labelled_as_it_was_measured(job: Job, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slide"))
    before = edit_result(folder, lambda result: quantify_of(result).update(max_uncertainty=0.0, max_ood=1e9))
    report = open_results(folder)
    assert (report.settings.quantify.max_uncertainty, report.settings.quantify.max_ood) == (0.0, 1e9)
    assert quantify_of(before) == load_settings().quantify.facts()
    assert (report.heatmap().label == CellLabel.ABSTAINED).any()
    assert not (open_results(job.folder).heatmap().label == CellLabel.ABSTAINED).any()


def test_a_folder_is_measured_again_without_the_model(job: Job, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slide"))
    figures = EstimatorFigures(24.0, 0.6, 20.0, EndOfScale(21.0, 99.0, 2))
    known = Quantity("hard", figures, figures)
    edit_result(folder, lambda result: result["provenance"]["model"].update(quantity=quantity_facts(known)))
    report = open_results(folder)
    assert report.quantity == known
    assert open_results(job.folder).quantity is None
    wanted = report.settings.quantify.model_copy(update={"min_tumour_mm2": 0.01})
    score = report.measure(wanted)
    assert score == wn.measure(report.scores(), wanted, report.quantity)
    assert (score.estimator, score.limit_of_blank) == ("by_class", figures.blank)
    soft = report.measure(wanted.model_copy(update={"estimator": "soft"}))
    assert soft.percent_viable == score.percent_viable_soft != score.percent_viable


@pytest.mark.parametrize(
    ("part", "value"), [("settings", {}), ("settings", {"quantify": {"seed": "x"}}), ("model", {})]
)
def test_damaged_results_are_named(job: Job, tmp_path: Path, part: str, value: object) -> None:
    folder = Path(shutil.copytree(job.folder, tmp_path / "slide"))
    edit_result(folder, lambda result: result["provenance"].update({part: value}))
    with pytest.raises(StoreError, match=r"result\.json is damaged .*; run the slide again"):
        assert open_results(folder).quantity


def test_a_folder_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"result\.json cannot be read"):
        open_results(tmp_path)
