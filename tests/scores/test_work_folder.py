import shutil
from pathlib import Path

import pytest

from wsi_necrosis.claims import claimed, unfinished
from wsi_necrosis.errors import ResultsDifferError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.scores.slide_folder import EXPORTS, LOG, PERF, SlideFolder
from wsi_necrosis.scores.work_folder import begin, publish, require_inputs


@pytest.fixture
def folder(job: Job, tmp_path: Path) -> SlideFolder:
    """A copy of a finished folder."""
    return SlideFolder(shutil.copytree(job.folder, tmp_path / "slide"))


def test_a_finished_slide_is_worked_on_away_from_its_place_and_comes_back_whole(folder: SlideFolder) -> None:
    prints = folder.result()["provenance"]["fingerprints"]
    text = (folder.path / "result.json").read_bytes()
    with claimed(folder.path) as claim:
        work = begin(claim, folder.inputs(), overwrite=False)
        assert not folder.path.exists()
        assert work.has_scores
        assert not work.is_complete
        assert all((work.path / name).exists() for name in EXPORTS)
        (work.path / "result.json").write_bytes(text)
        publish(claim, overwrite=False)
    assert folder.finished_with(prints) is not None


def test_other_inputs_are_refused_and_nothing_is_moved(folder: SlideFolder) -> None:
    with claimed(folder.path) as claim, pytest.raises(ResultsDifferError):
        begin(claim, {**folder.inputs(), "grid": {"block_cells": 5}}, overwrite=False)
    assert folder.is_complete


def test_unfinished_scores_of_other_inputs_are_refused_too(folder: SlideFolder) -> None:
    inputs = folder.inputs()
    with claimed(folder.path) as claim:
        begin(claim, inputs, overwrite=False)
    assert unfinished(folder.path) is not None
    require_inputs(folder, inputs)
    with pytest.raises(ResultsDifferError, match="score_version"):
        require_inputs(folder, {**inputs, "score_version": 0})


def test_overwriting_keeps_the_old_result_until_the_new_one_is_there_and_what_the_user_put_in(
    folder: SlideFolder,
) -> None:
    (folder.path / "note.txt").write_text("mine")
    with claimed(folder.path) as claim:
        work = begin(claim, {}, overwrite=True)
        assert not work.path.exists()
        assert folder.is_complete
        work.path.mkdir()
        (work.path / "result.json").write_text("new")
        publish(claim, overwrite=True)
    assert sorted(path.name for path in folder.path.iterdir()) == ["hashes.json", "note.txt", "result.json"]
    assert (folder.path / "result.json").read_text() == "new"


def test_half_written_files_of_a_killed_run_are_deleted(folder: SlideFolder) -> None:
    for name in (".overlay.png.1.2.partial", "blocks/.0.0.json.1.2.partial"):
        (folder.path / name).write_text("half")
    (folder.path / ".scores.zarr.1.old").mkdir()
    with claimed(folder.path) as claim:
        work = begin(claim, folder.inputs(), overwrite=False)
        assert not [*work.path.rglob(".*.partial"), *work.path.rglob(".*.old")]


def test_exports_without_scores_are_dropped(folder: SlideFolder) -> None:
    inputs = folder.inputs()
    shutil.rmtree(folder.path / "scores.zarr")
    with claimed(folder.path) as claim:
        work = begin(claim, inputs, overwrite=False)
        assert not any((work.path / name).exists() for name in (*EXPORTS, PERF, LOG))
