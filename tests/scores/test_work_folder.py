import os
import shutil
from pathlib import Path

import pytest

from tests.helpers.runs import OUTPUTS
from wsi_necrosis.claims import SHORT_WORK, claimed, has_traces, slot_of, unfinished
from wsi_necrosis.errors import ResultsDifferError
from wsi_necrosis.inference.job import Job
from wsi_necrosis.scores.slide_folder import EXPORTS, LOG, PERF, SlideFolder
from wsi_necrosis.scores.work_folder import begin, publish, require_inputs, tidy


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
        assert all((work.path / name).exists() for name in OUTPUTS & set(EXPORTS))
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
        work = begin(claim, {**folder.inputs(), "score_version": 0}, overwrite=True)
        assert not work.path.exists()
        assert folder.is_complete
        work.path.mkdir()
        (work.path / "result.json").write_text("new")
        publish(claim, overwrite=True)
    assert sorted(path.name for path in folder.path.iterdir()) == ["hashes.json", "note.txt", "result.json"]
    assert (folder.path / "result.json").read_text() == "new"


def test_overwriting_goes_on_with_unfinished_scores_of_the_same_inputs_and_drops_others(
    folder: SlideFolder,
) -> None:
    """An overwriting run was interrupted; what it had scored is kept for the same request alone."""
    old = folder.inputs()
    new = {**old, "score_version": 0}
    with claimed(folder.path) as claim:
        shutil.copytree(folder.path, claim.folder)
        store = claim.folder / "scores.zarr" / "zarr.json"
        version = f'"score_version": {old["score_version"]}'
        assert version in store.read_text()
        store.write_text(store.read_text().replace(version, '"score_version": 0'))
    with claimed(folder.path) as claim:
        assert begin(claim, new, overwrite=True).has_scores
        assert folder.has_scores  # the old result stays in its place
    with claimed(folder.path) as claim:
        assert not begin(claim, {**old, "score_version": -1}, overwrite=True).has_scores
        assert folder.has_scores


def test_overwriting_takes_back_what_has_the_same_inputs(folder: SlideFolder) -> None:
    with claimed(folder.path) as claim:
        assert begin(claim, folder.inputs(), overwrite=True).has_scores
        assert not folder.path.exists()


@pytest.mark.parametrize("partial", [True, False])
def test_what_a_killed_process_left_beside_a_result_is_deleted(folder: SlideFolder, partial: bool) -> None:
    """It was killed while it claimed, or after it had published in place of an older result."""
    slot = slot_of(folder.path)
    old = slot.with_name(f"{slot.name}.token.partial" if partial else slot.name) / "token"
    (old / "replaced").mkdir(parents=True)
    for name in ("alive.token", "replaced/result.json", "replaced/note.txt"):
        (old / name).write_text("{}")
    os.utime(old / "alive.token", (0, 0))
    os.utime(old.parent, (0, 0))
    assert has_traces(folder.path)
    tidy(folder.path, SHORT_WORK)
    assert not has_traces(folder.path)
    assert folder.has_scores
    assert (folder.path / "note.txt").exists() != partial


def test_another_process_is_not_tidied_away(folder: SlideFolder) -> None:
    with claimed(folder.path) as claim:
        claim.folder.mkdir()
        tidy(folder.path, SHORT_WORK)
        claim.require()
    tidy(folder.path, SHORT_WORK)  # unfinished work is kept, too
    assert unfinished(folder.path) is not None


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
