"""`setup.sh` says in a sentence what is missing, and mends a half-made environment; nothing is installed here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("dirname", "rm", "touch", "cat", "chmod", "mkdir")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the script, and one of commands that are on the path."""
    shutil.copy(ROOT / "setup.sh", tmp_path)
    (tmp_path / "bin").mkdir()
    for name in TOOLS:
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def fake_python(place: Path, name: str, lacks: str = "", version: str = "(3, 11)") -> None:
    """A Python that answers as if it were of a version and lacked a module or its headers, and makes fake venvs."""
    text = f"""#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cat "$0" > .venv/bin/python; chmod +x .venv/bin/python; exit;;
*"-m pip"*) echo "pip: $*"; exit;;
*"import pip"*) exit;;
*{lacks or "nothing"}*) exit 1;;
esac
exec {sys.executable} -c "import sys, sysconfig; sys.version_info = type('v', (tuple,), {{}})({version})
$2"
"""
    path = place / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def setup(place: Path, wanted: str, **environment: str) -> subprocess.CompletedProcess[str]:
    only = {"PATH": str(place / "bin"), "HOME": str(place), **environment}
    return subprocess.run(
        ["/bin/sh", str(place / "setup.sh"), wanted], env=only, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("lacks", "wanted", "said"),
    [
        ("ensurepip", "core", "lacks the module venv. Debian, Ubuntu: apt install python3.11-venv"),
        ("Python.h", "all", "lacks its C headers (Python.h)"),
        ("", "all", "there is no C compiler"),
    ],
)
def test_what_is_missing_is_said_in_one_line_with_the_way_out(
    lacks: str, wanted: str, said: str, place: Path
) -> None:
    fake_python(place, "python3.11", lacks)
    done = setup(place, wanted)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (place / ".venv").exists()


def test_without_a_python_that_fits_it_says_which_ones_do(place: Path) -> None:
    fake_python(place, "python3", version="(3, 10)")
    done = setup(place, "core")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no Python 3.11 or 3.12" in done.stderr
    assert "PYTHON=/path/to/python" in done.stderr
    assert "no Python 3.11 or 3.12 at python3" in setup(place, "core", PYTHON="python3").stderr


@pytest.mark.parametrize("name", ["python3.11", "python3.12", "python3"])
def test_any_python_that_fits_is_found_and_two_marks_are_left(name: str, place: Path) -> None:
    fake_python(place, name)
    fake_python(place, "cc")
    core = setup(place, "core")
    assert core.returncode == 0, core.stderr
    assert "-e ." in core.stdout
    assert "[" not in core.stdout.split("-e .")[1]
    assert sorted(path.name for path in (place / ".venv").iterdir()) == [".core", "bin"]
    assert "-e .[all,dev]" in setup(place, "all").stdout
    assert (place / ".venv" / ".all").exists()
    setup(place, "core")
    assert (place / ".venv" / ".all").exists()


def test_where_a_gpu_is_a_run_gets_torch(place: Path) -> None:
    fake_python(place, "python3.12")
    fake_python(place, "nvidia-smi")
    assert "-e .[torch]" in setup(place, "core").stdout


@pytest.mark.parametrize("half", ["empty", "a link to nowhere"])
def test_a_half_made_environment_is_made_again(half: str, place: Path) -> None:
    fake_python(place, "python3.11")
    (place / ".venv" / "bin").mkdir(parents=True)
    if half != "empty":
        (place / ".venv" / "bin" / "python").symlink_to(place / "gone")
    done = setup(place, "core")
    assert done.returncode == 0, done.stderr
    assert "half-made" in done.stdout
    assert os.access(place / ".venv" / "bin" / "python", os.X_OK)
