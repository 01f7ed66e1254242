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


def test_without_a_writable_cache_it_compiles_all_the_same_and_says_so_once() -> None:
    code = (
        "import numpy as np; from wsi_necrosis import extract; from wsi_necrosis.radiomics.recipe import RECIPES\n"
        "print(extract(np.zeros((1, 8, 8, 3), np.uint8), np.ones((1, 8, 8), bool), RECIPES['paper'], 1.0)[0].shape)"
    )
    nowhere = {
        "NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator",
        "NUMBA_CACHE_DIR": os.devnull + "/x",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | nowhere, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(1, 18)"
    assert done.stderr.count("set NUMBA_CACHE_DIR to a folder of your own") == 1


@pytest.mark.parametrize(("mode", "used"), [(0o700, True), (0o755, True), (0o777, False)])
def test_a_cache_that_others_may_write_is_not_used(mode: int, used: bool, tmp_path: Path) -> None:
    """Machine code from there would run in this process."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(mode)
    code = (
        "import numpy as np; from wsi_necrosis.tiling.focus import focus_and_blocks\n"
        "print(focus_and_blocks(np.zeros((8, 8, 3), np.uint8), np.zeros(256, np.float32)))"
    )
    where = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | where, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "(nan, nan)"
    assert done.stderr.count("other users may write to numba's cache") == (not used)
    assert any((tmp_path / "cache").rglob("*.nbi")) == used
