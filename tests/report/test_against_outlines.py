from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import shapely

from tests.helpers.command import in_process
from tests.helpers.runs import run
from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotations import Outline
from wsi_necrosis.geometry import Box, Mpp
from wsi_necrosis.report.against_outlines import (
    NO_CLASS,
    against_outlines,
    as_drawn,
    dice_of,
    outlined_classes,
)
from wsi_necrosis.report.slide_report import SlideReport, open_results
from wsi_necrosis.slides.phantom import write_phantom
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outlined")
    write_phantom(root / "a.tiff", np.random.default_rng(1), side_mm=1.0)
    run(root / "a.tiff", root / "out" / "slides" / "a.tiff")
    return root / "out"


@pytest.fixture
def report(out: Path) -> SlideReport:
    return open_results(out / "slides" / "a.tiff")


def edited(report: SlideReport, path: Path, before: str, after: str) -> Path:
    text = (report.folder / "regions.geojson").read_text()
    path.write_text(text.replace(f'"{before}"', f'"{after}"'))
    return path


def test_outlines_that_are_the_result_agree_in_full(report: SlideReport) -> None:
    found = against_outlines(report, report.folder / "regions.geojson")
    assert found.confusion.sum() > 0
    assert np.trace(found.confusion) == found.confusion.sum()
    assert set(found.dice().values()) == {1.0}
    facts = found.facts()
    assert facts["percent_viable_outlined"] == facts["percent_viable_read"]
    assert facts["percent_viable_read"] == pytest.approx(report.result["percent_viable_by_class"])
    mm2 = report.result["ledger"]["mm2"]
    assert facts["outlined_mm2"] == pytest.approx(sum(mm2[f"{name}_by_class"] for name in CLASSES))


def test_a_class_that_was_read_as_another_has_a_dice_of_0(report: SlideReport, tmp_path: Path) -> None:
    found = against_outlines(report, edited(report, tmp_path / "a.geojson", "Tumor", "Necrosis"))
    assert found.dice()["viable"] == 0
    assert found.dice()["non_tumour"] == 1
    assert 0 < found.dice()["non_viable"] < 1
    assert found.confusion[1, 2] > 0
    assert found.facts()["percent_viable_outlined"] == 0
    drawn = as_drawn([report], {"a.tiff": tmp_path / "a.geojson"})
    assert (drawn.percent_viable, drawn.slides, drawn.missing) == (0, ("a.tiff",), ())
    nothing = as_drawn([report], {"a.tiff": None})
    assert (nothing.percent_viable, nothing.missing) == (None, ("a.tiff",))


def test_inner_outlines_take_from_outer_ones_and_ignored_ones_from_all() -> None:
    kind = np.full((20, 20), MaskClass.TISSUE, np.uint8)
    kind[:, :2] = MaskClass.GLASS
    mask = TissueMask(kind, Box(0, 0, 200, 200), (10, 10), Mpp(5, 5))
    found = outlined_classes(
        [
            Outline("Tumor", shapely.box(0, 0, 100, 200)),
            Outline("Necrosis", shapely.box(50, 50, 80, 80)),
            Outline("Ignore*", shapely.box(0, 0, 200, 50)),
        ],
        mask,
    )
    assert (found[5:8, 5:8] == 1).all()
    assert (found[10:, 2:10] == 2).all()
    for nothing in (found[:5], found[:, :2], found[:, 10:]):
        assert (nothing == NO_CLASS).all()
    assert dice_of(np.zeros((3, 5), np.int64)) == dict.fromkeys(CLASSES)


def test_the_command_compares_all_slides_with_annotations(
    out: Path, report: SlideReport, tmp_path: Path
) -> None:
    truth = edited(report, tmp_path / "a.geojson", "Tumor", "Necrosis")
    done = in_process("evaluate", str(out), "--truth", str(tmp_path), "-o", str(tmp_path / "figures"))
    assert done.returncode == 0, done.stderr
    assert "1 slides against annotations" in done.stdout
    facts = json.loads((tmp_path / "figures" / "truth.json").read_text())
    assert facts["dice"]["viable"] == 0
    with (tmp_path / "figures" / "truth.csv").open(newline="", encoding="utf-8-sig") as handle:
        (row,) = csv.DictReader(handle)
    assert (row["slide_id"], row["percent_viable_outlined"]) == ("a.tiff", "0.0")
    assert (
        in_process("evaluate", str(out), "--truth", str(truth), "-o", str(tmp_path / "one")).returncode == 0
    )
    (tmp_path / "empty").mkdir()
    refused = in_process("evaluate", str(out), "--truth", str(tmp_path / "empty"))
    assert refused.returncode == 2
    assert "name each file as its slide, such as a.tiff.geojson" in refused.stderr
