"""Run the command in this process, or in one of its own."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

from wsi_necrosis.pipelines.cli import main


def in_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `wsi-necrosis ARGUMENTS` prints and ends with; spares the imports of a process of its own."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["wsi-necrosis", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def as_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, in a process of its own."""
    command = [sys.executable, "-m", "wsi_necrosis.pipelines.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)
