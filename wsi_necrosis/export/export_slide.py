"""Write every file that other programs open, from a slide's results; the slide itself is not needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.export.geojson import write_regions
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.export.tiles_table import write_tiles_table
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.slide_folder import HEATMAP, OVERLAY, REGIONS, THUMBNAIL, TILES
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.tiling.mask import Tissue


def export_slide(
    folder: Path,
    result: Mapping[str, Any],
    tissue: Tissue,
    scores: Scores,
    settings: Settings,
) -> None:
    """Write the tile table, OME-Zarr, GeoJSON, thumbnail and overlay of a slide; files that exist are replaced.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    result : mapping
        The content of `result.json`.
    tissue : Tissue
        Overview and mask.
    scores : Scores
        Scores of each cell.
    settings : Settings
        `quantify`, under which cells are labelled, and `export`.

    Raises
    ------
    StoreError
        A file cannot be written.
    """
    heatmap = stitch(scores, settings.quantify)
    write_tiles_table(folder / TILES, scores)
    write_ome_zarr(folder / HEATMAP, heatmap, result["slide_id"])
    write_regions(folder / REGIONS, scores, heatmap, result["provenance"]["inputs"]["slide"]["fingerprint"])
    write_thumbnail(folder / THUMBNAIL, tissue.overview, settings.export)
    layers = Layers(tissue.overview, tissue.mask, heatmap)
    write_overlay(folder / OVERLAY, layers, result, caption_of(result), settings.export)


def caption_of(result: Mapping[str, Any]) -> Caption:
    """Slide, model and pixel size as text for an overlay's legend."""
    model, slide = result["provenance"]["model"], result["provenance"]["slide"]
    mpp = Mpp(slide["mpp_x"], slide["mpp_y"])
    return Caption(
        result["slide_id"],
        f"{model['name']} ({model['sha256'][:8]})",
        f"{mpp} um ({slide['mpp_source']})",
    )
