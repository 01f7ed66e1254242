"""Checkpoints and evaluations as files, for tests of `evaluate`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any


def copied(source: Path, target: Path, **changes: Any) -> Path:
    """A checkpoint or an evaluation with facts of its JSON file changed."""
    shutil.copytree(source, target)
    path = next(target.glob("*.json"))
    tree = json.loads(path.read_text(encoding="utf-8"))
    for dotted, value in changes.items():
        *above, last = dotted.split("__")
        branch = tree
        for key in above:
            branch = branch[key]
        branch[last] = value
    path.write_text(json.dumps(tree), encoding="utf-8")
    return target


def read(out: Path) -> dict[str, Any]:
    """Facts of an evaluation."""
    tree: dict[str, Any] = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    return tree
