import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsi_necrosis.jit import compiled, compiled_sum


def add_up(values):  # type: ignore[no-untyped-def]  # numba finds the types
    total = 0.0
    for value in values:
        total += value
    return total


@pytest.mark.parametrize("decorate", [compiled, compiled_sum])
def test_a_kernel_does_what_its_function_does(decorate) -> None:  # type: ignore[no-untyped-def]
    values = np.random.default_rng(0).random(1000)
    assert decorate(add_up)(values) == pytest.approx(values.sum(), rel=1e-12)


KERNELS = """
from wsi_necrosis.jit import compiled
@compiled
def twice(value):
    return 2 * value
@compiled
def thrice(value):
    return 3 * value
"""


def results_of_kernels(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Two kernels, compiled in a process of its own."""
    (folder / "kernels.py").write_text(KERNELS, encoding="utf-8")
    code = "from kernels import twice, thrice; print(twice(2), thrice(2))"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder, env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip


def test_without_a_writable_cache_it_compiles_all_the_same_and_says_so_once(tmp_path: Path) -> None:
    done = results_of_kernels(
        tmp_path, NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator", NUMBA_CACHE_DIR=os.devnull + "/x"
    )
    assert done.stdout.strip() == "4 6"
    assert done.stderr.count("set NUMBA_CACHE_DIR to a folder of your own") == 1


@pytest.mark.parametrize(("mode", "used"), [(0o700, True), (0o755, True), (0o777, False)])
def test_a_cache_that_others_may_write_is_not_used(mode: int, used: bool, tmp_path: Path) -> None:
    """Machine code from there would run in this process."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    done = results_of_kernels(tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    assert done.stdout.strip() == "4 6"
    assert done.stderr.count("other users may write to numba's cache") == (not used)
    assert any((tmp_path / "cache").rglob("*.nbi")) == used
