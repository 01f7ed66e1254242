"""The commands on a slide with a block whose read never returns, each in a process of its own."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.slides.phantom import write_phantom

COMMAND = Path(__file__).parent / "helpers" / "hanging_command.py"
SMALL = ("--model", "phantom", "--set", "grid.block_cells=4", "--set", "quantify.min_tumour_mm2=0.05")
LIMIT_S = 30  # a worker that is started anew needs some seconds before its first block
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for seed, name in enumerate(("a", "b-hangs", "c")):
        write_phantom(folder / f"{name}.tiff", np.random.default_rng(seed), side_mm=0.8)
    return folder


def begun(how: str, *arguments: str) -> subprocess.Popen[str]:
    limit = ("--set", f"cluster.block_limit_s={LIMIT_S}")
    return subprocess.Popen(
        [sys.executable, str(COMMAND), arguments[0], *limit, *arguments[1:], *SMALL],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "HANG": how},
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def failures(out: Path) -> list[dict[str, str]]:
    with (out / "failures.csv").open(encoding="utf-8-sig", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize(
    ("how", "options", "way_out"),
    [
        ("lock", ("--workers", "2"), "the same command tries these alone"),
        ("sleep", ("--workers", "1", "--set", "cluster.processes=false"), "--set cluster.processes=true"),
    ],
)
def test_a_batch_goes_on_after_a_slide_that_hangs(
    slides: Path, tmp_path: Path, how: str, options: tuple[str, ...], way_out: str
) -> None:
    code, _, err = ended(begun(how, "batch", str(slides), "-o", str(tmp_path), *options))
    assert code == 3, err
    (failure,) = failures(tmp_path)
    assert (failure["slide"], failure["stage"]) == ("b-hangs.tiff", "score")
    assert f"block 1.1: no end after {LIMIT_S} s" in failure["message"]
    assert way_out in failure["way_out"]
    results = sorted((tmp_path / "slides").glob("*/result.json"))
    assert [path.parent.name for path in results] == ["a.tiff", "c.tiff"]
    assert [json.loads(path.read_text(encoding="utf-8"))["status"] for path in results] == ["scored"] * 2


def test_a_run_in_threads_names_slide_block_and_way_out_and_ends(slides: Path, tmp_path: Path) -> None:
    slide = slides / "b-hangs.tiff"
    code, _, err = ended(begun("sleep", "run", str(slide), "-o", str(tmp_path), "--workers", "2"))
    assert code == 1
    for words in (
        str(slide),
        "block 1.1: no end",
        "a thread cannot be ended",
        "--set cluster.processes=true",
    ):
        assert words in err
    assert not list(tmp_path.glob("slides/*/result.json"))


def test_a_run_whose_thread_keeps_the_interpreter_lock_ends(slides: Path, tmp_path: Path) -> None:
    code, _, err = ended(
        begun("lock", "run", str(slides / "b-hangs.tiff"), "-o", str(tmp_path), "--workers", "2")
    )
    assert code == 1
    assert "Timeout" in err
    assert "hanging_command.py" in err  # where it hangs


@pytest.mark.parametrize("processes", ["false", "true"])
def test_ctrl_c_ends_a_command_that_hangs(slides: Path, tmp_path: Path, processes: str) -> None:
    how = "lock" if processes == "true" else "sleep"
    options = (
        "--workers",
        "2",
        "--set",
        f"cluster.processes={processes}",
        "--set",
        "cluster.block_limit_s=0",
    )
    process = begun(how, "run", str(slides / "b-hangs.tiff"), "-o", str(tmp_path), *options)
    end, blocks = time.monotonic() + 120, -1
    while time.monotonic() < end:  # until no more blocks come
        time.sleep(8)
        before, blocks = blocks, len(list(tmp_path.glob("slides/.*.work/*/results/blocks/*.json")))
        if 0 < blocks == before:
            break
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 130, err
    assert "the same command resumes" in err
