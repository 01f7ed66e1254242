import ast
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.runs import OUTPUTS
from wsi_necrosis.errors import ResultsDifferError, StoreError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.provenance import RESULT_VERSION
from wsi_necrosis.scores import slide_folder
from wsi_necrosis.scores.slide_folder import BLOCKS, RESULT, SCORES, TISSUE, SlideFolder

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(job: Job, tmp_path: Path) -> SlideFolder:
    """A copy of a finished folder."""
    return SlideFolder(shutil.copytree(job.folder, tmp_path / "slide"))


def test_every_output_is_named_in_the_module() -> None:
    names = {value for key, value in vars(slide_folder).items() if key.isupper() and isinstance(value, str)}
    asked_for = {
        "heatmap.ome.tiff", "tiles.csv", "tiles.geojson", "tissue.geojson", "regions.geojson.gz", "annotations.db",
    }  # fmt: skip
    assert names - {"log.txt", "slides", "runs", "checksum.txt", "export_failed"} == OUTPUTS | asked_for


@pytest.mark.parametrize("package", ["wsi_necrosis", "pipelines"])
def test_no_other_module_spells_the_name_of_an_output(package: str) -> None:
    names = {*OUTPUTS, "log.txt"} - {"blocks"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in (ROOT / package).rglob("*.py")
        if path.name != "slide_folder.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_a_finished_folder_is_whole_and_says_what_it_was_made_from(folder: SlideFolder, job: Job) -> None:
    assert folder.has_scores
    assert folder.is_complete
    result = folder.result()
    assert folder.finished_with(result["provenance"]["fingerprints"]) == result
    assert folder.inputs() == result["provenance"]["inputs"]
    assert folder.inputs()["slide"]["fingerprint"] == job.fingerprint
    assert folder.scores().grid == job.grid
    assert folder.tissue().mask.plane == job.grid.plane


@pytest.mark.parametrize("name", sorted(OUTPUTS - {"blocks"}))
def test_a_folder_that_lacks_a_file_is_not_whole(folder: SlideFolder, name: str) -> None:
    prints = folder.result()["provenance"]["fingerprints"]
    lost = folder.path / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert not folder.is_complete
    assert folder.finished_with(prints) is None


@pytest.mark.parametrize(
    "lost", ["zarr.json", "mask/c", "overview/c", "unreadable/zarr.json", "checksum.txt"]
)
def test_damage_to_overview_or_mask_is_noticed(folder: SlideFolder, lost: str) -> None:
    path = folder.path / TISSUE / lost
    shutil.rmtree(path) if path.is_dir() else path.write_text("{}", encoding="utf-8")
    assert not folder.is_complete  # so that the next run makes them again
    with pytest.raises(StoreError, match=r"tissue\.zarr is missing or damaged; run the slide again"):
        folder.tissue()


@pytest.mark.parametrize("name", ["px", "prob", "state", "ood", "uncertainty"])
def test_scores_that_were_lost_are_not_read_as_nothing(folder: SlideFolder, name: str) -> None:
    shutil.rmtree(folder.path / SCORES / name / "c")
    with pytest.raises(StoreError, match=r"has lost part of its scores .*--overwrite"):
        folder.scores()


def test_scores_whose_record_is_gone_are_not_trusted(folder: SlideFolder) -> None:
    next((folder.path / BLOCKS).iterdir()).unlink()
    with pytest.raises(StoreError, match=r"has lost part of its scores \(record of block"):
        folder.scores()


def test_the_folder_of_a_command_is_told_from_that_of_a_slide(tmp_path: Path) -> None:
    (tmp_path / "slides" / "a.svs").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"the results of a slide are in a folder of .*slides"):
        SlideFolder(tmp_path).result()


def test_other_fingerprints_are_not_finished(folder: SlideFolder) -> None:
    prints = folder.result()["provenance"]["fingerprints"]
    assert folder.finished_with({**prints, "export": "other"}) is None


@pytest.mark.parametrize(
    "text", ["", "no json", "[]", "{}", '{"schema_version": 1}', f'{{"schema_version": {RESULT_VERSION}}}']
)
def test_a_damaged_result_is_no_result(folder: SlideFolder, text: str) -> None:
    (folder.path / RESULT).write_text(text, encoding="utf-8")
    assert folder.finished_with({}) is None
    with pytest.raises(StoreError, match=r"result\.json .*run the slide again"):
        folder.result()


def test_inputs_that_differ_are_named(folder: SlideFolder, tmp_path: Path) -> None:
    inputs = json.loads(json.dumps(folder.inputs()))
    folder.require_inputs(inputs)
    SlideFolder(tmp_path / "none").require_inputs(inputs)  # nothing there is no fault
    with pytest.raises(ResultsDifferError, match=r"grid\.block_cells: 4 -> 5"):
        folder.require_inputs({**inputs, "grid": {**inputs["grid"], "block_cells": 5}})
    with pytest.raises(ResultsDifferError, match="another slide of this name"):
        folder.require_inputs({**inputs, "slide": {**inputs["slide"], "fingerprint": "other"}})


def test_a_reader_cannot_write(folder: SlideFolder) -> None:
    reader = folder.score_reader()
    assert not hasattr(reader, "write_block")
    with pytest.raises((ValueError, OSError), match=r"read.only"):
        reader._array("prob")[:] = 0


def test_features_of_single_cells_are_those_of_their_blocks(folder: SlideFolder) -> None:
    reader = folder.score_reader()
    block = next(each for each in reader.grid.blocks() if each.row and each.col)
    whole = reader.read_block(block)
    radiomics, gate = reader.features_of([(block.row, block.col), (block.row + 1, block.col)])
    np.testing.assert_array_equal(radiomics, whole.radiomics[:2, 0])
    np.testing.assert_array_equal(gate, whole.gate[:2, 0])
