import errno
import json
from contextlib import nullcontext
from pathlib import Path

import pytest

from wsi_necrosis import files
from wsi_necrosis.errors import StoreError
from wsi_necrosis.files import atomic_write, checksum, sync, write_json, write_text


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def test_a_file_is_there_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "result.txt"
    with atomic_write(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["result.txt"]


def test_a_folder_replaces_a_folder_with_all_it_held(tmp_path: Path) -> None:
    path = tmp_path / "heat.zarr"
    (path / "old" / "deep").mkdir(parents=True)
    with atomic_write(path) as partial:
        (partial / "new").mkdir(parents=True)
    assert names(path) == ["new"]
    assert names(tmp_path) == ["heat.zarr"]


def fail_half_way(path: Path, error: BaseException) -> None:
    with atomic_write(path) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("x")]
)
def test_what_was_there_survives_a_failure(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "result.txt"
    path.write_text("old")
    wanted = StoreError if isinstance(error, OSError) else type(error)
    with pytest.raises(wanted):
        fail_half_way(path, error)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["result.txt"]


def test_a_folder_comes_back_when_its_successor_cannot_be_moved(tmp_path: Path) -> None:
    path = tmp_path / "heat.zarr"
    (path / "old").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"heat\.zarr cannot be written"), atomic_write(path):
        pass  # nothing was written, so there is nothing to move
    assert names(path) == ["old"]
    assert names(tmp_path) == ["heat.zarr"]


def test_the_message_names_the_path_the_fact_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file") as caught:
        write_text(tmp_path / "missing" / "a.txt", "x")
    assert str(tmp_path / "missing" / "a.txt") in str(caught.value)
    assert "run again" in str(caught.value)


def test_json_is_utf_8_and_finite(tmp_path: Path) -> None:
    path = tmp_path / "Präparat.json"
    write_json(path, {"a": 0.1, "b": [None, "µ"]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": 0.1, "b": [None, "µ"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text(encoding="utf-8"))["a"] == 0.1


def test_a_checksum_sees_names_and_contents(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1")
    first = checksum(tmp_path)
    (tmp_path / "note").write_text(first, encoding="utf-8")
    assert checksum(tmp_path, without="note") == first != checksum(tmp_path)
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    assert checksum(tmp_path, without="note") != first
    (tmp_path / "a" / "y").rename(tmp_path / "a" / "x")
    (tmp_path / "a" / "x").write_bytes(b"2")
    assert checksum(tmp_path, without="note") != first


@pytest.mark.parametrize("durable", [True, False])
def test_a_folder_is_on_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path, synced = tmp_path / "heat.zarr", []
    monkeypatch.setattr(files, "sync", lambda each: synced.append((each, path.exists())))
    with atomic_write(path, durable=durable) as partial:
        (partial / "deep").mkdir(parents=True)
        (partial / "deep" / "x").write_text("1")
    inside = {(partial, False), (partial / "deep", False), (partial / "deep" / "x", False)}
    assert set(synced) == (inside | {(tmp_path, True)} if durable else set())


@pytest.mark.parametrize(("number", "told"), [(errno.EINVAL, False), (errno.ENOSPC, True)])
def test_a_file_system_that_cannot_sync_folders_is_no_error_and_a_full_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: bool
) -> None:
    def fail(_: int) -> None:
        raise OSError(number, "no")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="no") if told else nullcontext():
        sync(tmp_path)
