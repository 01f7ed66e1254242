import json
import os
import subprocess
import sys
import time
from pathlib import Path

from wsi_necrosis.owners import is_gone, owner_of, write_owner


def test_this_process_owns_and_works(tmp_path: Path) -> None:
    assert owner_of(tmp_path) is None
    now = write_owner(tmp_path, tmp_path.name)
    owner = owner_of(tmp_path)
    assert owner is not None
    assert owner["pid"] == os.getpid()
    assert abs(now - time.time()) < 5
    assert not is_gone(tmp_path, owner, now + 9, silence_s=10)
    assert is_gone(tmp_path, owner, now + 11, silence_s=10)


def test_a_process_that_ended_is_gone_and_so_is_one_whose_number_was_given_again(tmp_path: Path) -> None:
    now = write_owner(tmp_path, tmp_path.name)
    owner = owner_of(tmp_path)
    assert owner is not None
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        while not is_gone(
            tmp_path, {**owner, "pid": ended.pid}, now, 1000
        ):  # not waited for: its entry is still there
            time.sleep(0.01)
    assert is_gone(tmp_path, {**owner, "pid": ended.pid}, now, 1000)
    assert is_gone(tmp_path, {**owner, "started": "0"}, now, 1000)
    assert not is_gone(tmp_path, {**owner, "pid": ended.pid, "machine": "other"}, now, 1000)


def test_an_owner_that_cannot_be_read_counts_by_its_age(tmp_path: Path) -> None:
    (tmp_path / f"alive.{tmp_path.name}").write_text("{")
    assert owner_of(tmp_path) == {}
    assert not is_gone(tmp_path, {}, time.time(), 100)
    assert is_gone(tmp_path, {}, time.time() + 101, 100)
    (tmp_path / f"alive.{tmp_path.name}").write_text(json.dumps([1]))
    assert owner_of(tmp_path) == {}


def test_a_folder_that_was_taken_over_is_left_alone(tmp_path: Path) -> None:
    assert not is_gone(tmp_path / "none", {}, time.time(), 0)
