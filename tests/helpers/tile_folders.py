"""Pictures, tables and settings that tests of the dataset share."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.dataset.labels import CERTAIN, Truth
from wsi_necrosis.dataset.tiles import LabelledTile
from wsi_necrosis.settings.train import TileDataSettings, load_train_settings


def data(place: Path, **changed: Any) -> TileDataSettings:
    """Shipped settings for tiles at a place, with some of them changed."""
    shipped = load_train_settings(preset="tcia").data.model_dump() | {"tiles": str(place)} | changed
    return TileDataSettings.model_validate(shipped)


def picture(path: Path, grey: int = 0) -> Path:
    """A small picture; another grey is another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)
    return path


def table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> Path:
    """A CSV file of rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, columns or list(rows[0]), extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def tile(name: str, case: str, truth: Truth = CERTAIN[VIABLE], sha256: str | None = None) -> LabelledTile:
    """A tile without a picture."""
    return LabelledTile(Path(name), truth, case, "s", 0, 0, 0.5, name if sha256 is None else sha256)
