"""The short forms of `benchmarks/kills.py` and `benchmarks/processes.py`, which have the long ones."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"
SMALL = ("--slides", "2", "--side-mm", "0.8")


def found_by(script: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, str(SCRIPTS / script), *SMALL, *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--processes", "1"], ["--processes", "2"], ["--overwrite"]])
def test_kills_change_no_byte_and_nothing_is_computed_twice(options: list[str]) -> None:
    found = found_by("kills.py", "--kills", "4", "--seed", "3", *options)
    assert found["kills"] == 4
    assert sum(found["killed_in"].values()) >= 4  # those that came when the process had ended are named, too
    assert found["files"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("case", ["together", "killed", "array", "stopped", "overwriting"])
def test_several_processes_make_each_result_once(case: str) -> None:
    found = found_by("processes.py", "--processes", "3", "--cases", case)
    assert found[case] == []
    assert found["slides"] == 2
