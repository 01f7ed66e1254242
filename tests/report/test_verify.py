import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.export.summary import write_summary
from wsi_necrosis.inference.job import Job
from wsi_necrosis.report.verify import finished_folders, verify_slide, verify_summary
from wsi_necrosis.scores.file_list import changed_files, write_file_list


@pytest.fixture
def folder(job: Job, tmp_path: Path) -> Path:
    """A copy of a finished folder in an output folder."""
    return Path(shutil.copytree(job.folder, tmp_path / "slides" / "slide.tiff"))


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the result, and its hash too, as someone who knows the format would."""
    path = folder / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    change(result)
    path.write_text(json.dumps(result), encoding="utf-8")
    write_file_list(folder / "hashes.json", without="log.txt")


def test_what_was_written_has_no_fault(folder: Path) -> None:
    assert list(verify_slide(folder, full=True)) == []


def every_file(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "log.txt"]


@pytest.mark.parametrize("loss", ["half", "all"])
def test_every_file_of_a_slide_that_is_cut_short_or_lost_is_found(folder: Path, loss: str) -> None:
    """As `verify_slide` does first."""
    lost = [path for path in every_file(folder) if path.name != "hashes.json"]
    for path in lost:
        whole = path.read_bytes()
        path.unlink()
        if loss == "half":
            path.write_bytes(whole[: len(whole) // 2])
    found = "\n".join(changed_files(folder / "hashes.json", thorough=True))
    assert [path for path in lost if path.relative_to(folder).as_posix() not in found] == []


@pytest.mark.parametrize("loss", ["half", "all"])
def test_a_list_of_files_that_is_cut_short_or_lost_is_found(folder: Path, loss: str) -> None:
    path = folder / "hashes.json"
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    if loss == "half":
        path.write_bytes(half)
    assert changed_files(path, thorough=True) != []


def test_a_lost_list_is_a_fault(folder: Path) -> None:
    (folder / "hashes.json").unlink()
    assert list(verify_slide(folder)) == ["hashes.json is missing or damaged"]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "percentage": (lambda result: result.update(percent_viable=1.5), "percent_viable is 1.5; measured again"),
    "tiles": (lambda result: result.update(n_tiles=1), "n_tiles is 1, the store has"),
    "pixels": (
        lambda result: result["ledger"]["px"].update(viable_by_class=0),
        "the terms of the ledger add up to",
    ),
    "area": (
        lambda result: result["ledger"]["mm2"].update(viable_by_class=9),
        "the ledger's viable_by_class is 9 mm2",
    ),
    "no ledger": (lambda result: result.update(ledger={}), "its result is damaged"),
    "version": (lambda result: result.update(schema_version=1), "has schema version 1"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_number_is_found_although_its_hash_was_changed_too(folder: Path, name: str) -> None:
    change, said = CHANGES[name]
    edit(folder, change)
    assert said in "\n".join(verify_slide(folder))


def test_a_changed_block_is_found_although_its_hash_was_changed_too(folder: Path) -> None:
    """Radiomics enter no number, so that only the block's record tells."""
    shutil.rmtree(folder / "scores.zarr" / "radiomics" / "c")
    write_file_list(folder / "hashes.json", without="log.txt")
    assert "differs from its record" in "\n".join(verify_slide(folder))


def test_another_slide_in_the_same_place_is_found_on_request(job: Job, folder: Path) -> None:
    moved = folder.parents[1] / "slide.tiff"
    shutil.copyfile(job.slide, moved)
    edit(folder, lambda result: result.update(path=str(moved)))
    assert list(verify_slide(folder, full=True)) == []
    with moved.open("ab") as stream:
        stream.write(b"x")
    assert list(verify_slide(folder)) == []
    assert "has changed: its fingerprint is" in "\n".join(verify_slide(folder, full=True))
    moved.unlink()
    assert "slide.tiff" in "\n".join(verify_slide(folder, full=True))


def test_an_anonymised_slide_names_no_file_to_compare(folder: Path) -> None:
    edit(folder, lambda result: result.update(path=""))
    assert list(verify_slide(folder, full=True)) == []


def test_a_slide_whose_result_is_lost_is_named(folder: Path) -> None:
    (folder / "result.json").unlink()
    assert finished_folders(folder.parents[1]) == [folder]
    assert "result.json is missing" in list(verify_slide(folder))


def test_a_table_that_differs_from_the_results_is_found(folder: Path) -> None:
    out = folder.parents[1]
    assert "cannot be read" in "\n".join(verify_summary(out))
    write_summary(out)
    assert list(verify_summary(out)) == []
    table = out / "summary.csv"
    table.write_bytes(table.read_bytes().replace(b"slide.tiff", b"other.tiff"))
    assert "differs from the results" in "\n".join(verify_summary(out))
    write_summary(out)
    assert list(verify_summary(out)) == []


def test_folders_of_slides_are_found_and_work_in_progress_is_not(folder: Path) -> None:
    out = folder.parents[1]
    shutil.copytree(folder, out / "slides" / ".b.tiff.work" / "token" / "results")
    assert finished_folders(out) == finished_folders(folder) == [folder]
    assert finished_folders(out / "none") == []
