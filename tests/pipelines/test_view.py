from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.command import in_process
from tests.helpers.runs import run
from wsi_necrosis.slides.phantom import write_phantom


def test_no_results_are_refused(tmp_path: Path) -> None:
    done = in_process("view", str(tmp_path))
    assert done.returncode == 2
    assert "holds no results of slides" in done.stderr


def test_the_page_is_there_until_ctrl_c(tmp_path: Path) -> None:
    write_phantom(tmp_path / "a.tiff", np.random.default_rng(1), side_mm=0.5)
    run(tmp_path / "a.tiff", tmp_path / "out" / "slides" / "a.tiff")
    command = [
        sys.executable,
        "-m",
        "wsi_necrosis.pipelines.cli",
        "view",
        str(tmp_path / "out"),
        "--no-browser",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(
            found[0] for line in process.stdout if (found := re.search(r"http://127\.0\.0\.1:\S+", line))
        )
        try:
            with urllib.request.urlopen(address) as page:  # noqa: S310  # an address of this machine
                assert b"<title>wsi-necrosis</title>" in page.read()
            with pytest.raises(urllib.error.HTTPError, match="403") as refused:
                urllib.request.urlopen(address.partition("?")[0])  # noqa: S310  # the same
            refused.value.close()
        finally:
            os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 0
