"""Run the command in a process that finds no torch, torchvision, timm and tiatoolbox, as if they were not installed.

python -m tests.helpers.without_torch run slide.tiff --out out
"""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HIDDEN = frozenset({"torch", "torchvision", "timm", "tiatoolbox"})


def hides(module: str) -> bool:
    return module.partition(".")[0] in HIDDEN


class Hiding(PathFinder):
    """Python's finder of installed modules, but for those."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if hides(name) else super().find_spec(name, path, target)


def without_torch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What `wsi-necrosis ARGUMENTS` prints and ends with in such a process; it fails if they were imported."""
    command = [sys.executable, "-m", "tests.helpers.without_torch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def _main() -> None:
    installed = Distribution.from_name

    def distribution(name: str) -> Distribution:
        if hides(name):
            raise PackageNotFoundError(name)
        return installed(name)

    Distribution.from_name = distribution  # type: ignore[method-assign]
    sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
    from wsi_necrosis.pipelines.cli import main

    try:
        main()
    finally:
        imported = sorted({*filter(hides, sys.modules)})
        if imported:
            raise AssertionError(f"imported all the same: {imported[:3]}")


if __name__ == "__main__":
    _main()
