"""The short form of `benchmarks/kills.py`, which has the long one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "kills.py"


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_kills_at_random_moments_change_no_byte_and_nothing_is_computed_twice(processes: int) -> None:
    options = [
        "--kills",
        "5",
        "--seed",
        "3",
        "--slides",
        "2",
        "--side-mm",
        "1.2",
        "--processes",
        str(processes),
    ]
    ended = subprocess.run([sys.executable, SCRIPT, *options], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["kills"] == 5
    assert found["files"] > 100
