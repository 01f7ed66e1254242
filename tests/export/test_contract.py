"""What every exporter keeps to, whatever the slide."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.errors import StoreError
from wsi_necrosis.export.geojson import write_regions, write_tissue
from wsi_necrosis.export.ome_tiff import write_ome_tiff
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.tiles_geojson import write_tiles_geojson
from wsi_necrosis.export.tiles_table import write_tiles_csv, write_tiles_table
from wsi_necrosis.settings.run import load_settings

SETTINGS = load_settings().export.model_copy(update={"overlay_px": 400})
CAPTION = Caption("slide", "model", "notice", "0.5 µm per pixel", "0.1.0", "2026-11-29")

WRITERS: dict[str, Callable[[Path, Any], None]] = {
    "tiles.csv": lambda path, s: write_tiles_csv(path, s.scores, s.settings, s.facts),
    "tiles.geojson": lambda path, s: write_tiles_geojson(path, s.scores, s.settings, "f"),
    "heatmap.ome.tiff": lambda path, s: write_ome_tiff(path, s.heatmap, "slide", "f"),
    "regions.geojson.gz": lambda path, s: write_regions(path, s.scores, s.heatmap, s.layers.mask, "f"),
    "tiles.parquet": lambda path, s: write_tiles_table(path, s.scores, s.settings, s.facts),
    "heatmap.ome.zarr": lambda path, s: write_ome_zarr(path, s.heatmap, "slide"),
    "tissue.geojson": lambda path, s: write_tissue(path, s.scores.grid, s.layers.mask, "f"),
    "regions.geojson": lambda path, s: write_regions(path, s.scores, s.heatmap, s.layers.mask, "f"),
    "overlay.png": lambda path, s: write_overlay(path, s.layers, s.result, CAPTION, SETTINGS),
    "thumbnail.png": lambda path, s: write_thumbnail(path, s.layers.overview, SETTINGS),
}
SLIDES = {
    "mixed": {},
    "glass": {"fill": "glass"},
    "unreadable": {"fill": "unreadable"},
    "one cell": {"cols": 3, "rows": 2, "fill": "tissue"},
    "one pixel": {"cols": 1, "rows": 1, "fill": "tissue"},
    "thin": {"cols": 900, "rows": 1},
}


def content(path: Path) -> str:
    """Digest of a file, or of all names and files of a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode())
        digest.update(file.read_bytes() if file.is_file() else b"")
    return digest.hexdigest()


@pytest.fixture(params=WRITERS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize("kind", SLIDES)
def test_writes_the_same_from_the_same(
    name: str, kind: str, made_up: Callable[..., Any], tmp_path: Path
) -> None:
    found = []
    for folder in ("a", "Fälle, neu"):
        path = tmp_path / folder / name
        path.parent.mkdir()
        WRITERS[name](path, made_up(**SLIDES[kind]))
        assert [item.name for item in path.parent.iterdir()] == [name]
        found.append(content(path))
    assert found[0] == found[1]


def test_replaces_what_was_there(name: str, made_up: Callable[..., Any], tmp_path: Path) -> None:
    fresh, used = tmp_path / "fresh", tmp_path / "used"
    fresh.mkdir()
    used.mkdir()
    WRITERS[name](used / name, made_up(cols=500, seed=1))
    before = content(used / name)
    WRITERS[name](used / name, made_up())
    WRITERS[name](fresh / name, made_up())
    assert content(used / name) == content(fresh / name) != before
    assert [item.name for item in used.iterdir()] == [name]


@pytest.mark.parametrize("name", sorted(set(WRITERS) - {"heatmap.ome.zarr"}))  # zarr makes missing folders
def test_a_missing_folder_is_a_clear_error(name: str, made_up: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        WRITERS[name](tmp_path / "missing" / name, made_up())
