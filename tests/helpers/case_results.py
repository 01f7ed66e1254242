"""Results of made-up slides on disk, for what reads `result.json` alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.helpers.complete_scores import scores, settings
from wsi_necrosis.provenance import RESULT_VERSION
from wsi_necrosis.quantify.definition import definition
from wsi_necrosis.quantify.percentage import measure

SETTINGS = settings(min_tumour_mm2=0.01)


def result_of(
    name: str, viable: int, non_viable: int, non_tumour: int = 0, px_mm2: float = 0.001, **changes: Any
) -> dict[str, Any]:
    """The result of a slide with a cell of each class, of so many mask pixels."""
    tissue = np.array([[viable, non_viable, non_tumour]], np.uint32)
    store = scores(np.eye(3)[::-1][None], tissue, px_mm2)
    facts = {
        "schema_version": RESULT_VERSION,
        "slide_id": name,
        "path": "",
        "manifest": {},
        "definition": definition("by_class"),
        **measure(store, SETTINGS).to_dict(),
        "provenance": {
            "inputs": {"slide": {"fingerprint": name}},
            "slide": {"mpp_x": 0.5, "mpp_y": 0.5},
            "model": {"name": "made-up", "sha256": "ab"},
            "settings": {"quantify": SETTINGS.facts()},
        },
    }
    return facts | changes


def put(out: Path, result: Mapping[str, Any]) -> None:
    """Write it where `run` would."""
    folder = out / "slides" / result["slide_id"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    """A manifest of these rows, each with its `path`."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
