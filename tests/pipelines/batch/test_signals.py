"""`wsi-necrosis batch` interrupted by real signals, which its worker processes get, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.pipelines.verify import verify
from wsi_necrosis.slides.phantom import write_phantom

SLIDES = 2
TIMEOUT_S = 120
SETTINGS = (
    "model.name=phantom", "quantify.min_tumour_mm2=0.1", "grid.block_cells=2", "cluster.workers=1",
)  # fmt: skip


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    for at in range(SLIDES):
        write_phantom(folder / f"{at}.tiff", np.random.default_rng(at), side_mm=0.8)
    return folder


def start(slides: Path, out: Path, *settings: str) -> subprocess.Popen[str]:
    """The command as leader of its own group of processes, as a terminal or a scheduler starts it."""
    words = [word for each in (*SETTINGS, *settings) for word in ("--set", each)]
    command = [
        sys.executable,
        "-m",
        "wsi_necrosis.pipelines.cli",
        "batch",
        str(slides),
        "-o",
        str(out),
        *words,
    ]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)


def blocks(out: Path) -> dict[str, int]:
    """Finished blocks of the slide in work, and when they were written."""
    found = out.glob("slides/.*.work/*/results/blocks/[0-9]*.json")
    return {path.name: path.stat().st_mtime_ns for path in found}


def wait_for_blocks(out: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while len(blocks(out)) < 2:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGINT, "true"), (signal.SIGTERM, "true"), (signal.SIGTERM, "false")]
)
def test_a_signal_to_all_processes_ends_the_batch_in_order(
    slides: Path, tmp_path: Path, number: signal.Signals, processes: str
) -> None:
    with start(slides, tmp_path, f"cluster.processes={processes}") as process:
        wait_for_blocks(tmp_path, process)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 130, said
    assert f"stopped by {number.name}; finished blocks are kept, the same command resumes" in said
    assert f"of {SLIDES} slides were done" in said
    assert "Traceback" not in said
    assert json.loads((tmp_path / "run.json").read_text())["state"] == "interrupted"
    kept = blocks(tmp_path)
    assert len(kept) >= 2
    with start(slides, tmp_path, f"cluster.processes={processes}") as process:
        _, said = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, said
    first = min(tmp_path.glob("slides/*.tiff"))
    found = {path.name: path.stat().st_mtime_ns for path in first.glob("blocks/[0-9]*.json")}
    assert kept.items() <= found.items()
    assert json.loads((first / "perf.json").read_text())["tiles_kept"] > 0
    assert verify(tmp_path).faults == []
