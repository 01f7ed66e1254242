import os
import shutil
from pathlib import Path

import pytest

from wsi_necrosis.scores import file_list
from wsi_necrosis.scores.file_list import changed_files, write_file_list


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A folder of three files and a log, listed."""
    folder = tmp_path / "slide"
    (folder / "deep").mkdir(parents=True)
    for name in ("a", "b", "deep/c", "log"):
        (folder / name).write_text(f"content of {name}")
    write_file_list(folder / "list", without="log")
    return folder / "list"


def test_what_is_as_it_was_written_is_not_read(listed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (listed.parent / "log").write_text("one more line")
    assert changed_files(listed, thorough=True) == []
    monkeypatch.setattr(file_list, "_sha256", pytest.fail)
    assert changed_files(listed) == []


def test_a_copy_is_read_and_found_whole(listed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(listed.parent, copy, copy_function=shutil.copyfile)
    assert changed_files(copy / "list") == []


@pytest.mark.parametrize("thorough", [False, True])
def test_damage_is_named(listed: Path, thorough: bool) -> None:
    (listed.parent / "a").write_text("content of x")
    (listed.parent / "b").write_text("short")
    (listed.parent / "deep" / "c").unlink()
    assert changed_files(listed, thorough=thorough) == [
        "a has another content",
        "b has 5 bytes, not 12",
        "deep/c is missing",
    ]


def test_tampering_that_keeps_size_and_time_is_found_when_all_is_read(listed: Path) -> None:
    path = listed.parent / "a"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_text("content of x")
    os.utime(path, ns=times)
    assert changed_files(listed) == []
    assert changed_files(listed, thorough=True) == ["a has another content"]


def test_a_file_slipped_into_an_array_is_found_when_all_is_read(listed: Path) -> None:
    (listed.parent / "note.txt").write_text("a user's own")
    (listed.parent / "deep" / "d").write_text("x")
    assert changed_files(listed, thorough=True) == ["deep/d was not there"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 1}', '{"files": {"a": {}}}'])
def test_a_damaged_list_is_none(listed: Path, text: str) -> None:
    listed.write_text(text)
    assert changed_files(listed) is None
    listed.unlink()
    assert changed_files(listed) is None
