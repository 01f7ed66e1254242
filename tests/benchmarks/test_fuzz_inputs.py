"""The short form of `benchmarks/fuzz_inputs.py`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "fuzz_inputs.py"


@pytest.mark.slow
def test_mutated_inputs_are_taken_or_refused_in_one_line(tmp_path: Path) -> None:
    few = ("--models", "12", "--settings", "40", "--labels", "40", "--seed", "11", "--workers", "1")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *few, "--keep", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert {kind: sum(counts.values()) for kind, counts in found.items()} == {
        "models": 12,
        "settings": 40,
        "labels": 40,
    }
    assert all(counts["refused"] > counts.get("taken", 0) > 0 for counts in found.values())
    assert not list(tmp_path.iterdir())
