"""Write every file that other programs open, from a slide's results; the slide itself is not needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wsi_necrosis.errors import InterruptedRunError, WsiNecrosisError
from wsi_necrosis.export.foci import write_foci_regions, write_foci_table
from wsi_necrosis.export.geojson import write_regions
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.export.tiles_table import write_tiles_table
from wsi_necrosis.files import remove
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.quantify.foci import foci_of
from wsi_necrosis.quantify.heatmap import stitch
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.slide_folder import FOCI, FOCI_REGIONS, HEATMAP, OVERLAY, REGIONS, THUMBNAIL, TILES
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.tiling.mask import Tissue

log = logging.getLogger(__name__)


def export_slide(
    folder: Path,
    result: Mapping[str, Any],
    tissue: Tissue,
    scores: Scores,
    settings: Settings,
    date: str,
) -> list[ResultWarning]:
    """Write tables of tiles and foci, OME-Zarr, GeoJSON, thumbnail and overlay; files that exist are replaced.

    A file that cannot be made is left out, and the others are made: the scores are whole, and the next run of the
    slide makes the missing file.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    result : mapping
        The content of `result.json`.
    tissue : Tissue
        Mask, and the picture to draw on.
    scores : Scores
        Scores of each cell.
    settings : Settings
        `quantify`, under which cells are labelled, and `export`.
    date : str
        Of the measurement, for the overlay.

    Returns
    -------
    list of ResultWarning
        One for each file that could not be made, with code `export_failed`.
    """
    heatmap = stitch(scores, settings.quantify)
    foci = foci_of(scores, settings.quantify)
    layers = Layers(tissue.picture, tissue.mask, heatmap)
    fingerprint = result["provenance"]["inputs"]["slide"]["fingerprint"]
    exports: dict[str, Callable[[Path], None]] = {
        TILES: lambda path: write_tiles_table(path, scores, settings.quantify, result),
        HEATMAP: lambda path: write_ome_zarr(path, heatmap, result["slide_id"]),
        REGIONS: lambda path: write_regions(path, scores, heatmap, tissue.mask, fingerprint),
        FOCI: lambda path: write_foci_table(path, foci, tissue.mask),
        FOCI_REGIONS: lambda path: write_foci_regions(path, foci, heatmap, tissue.mask, fingerprint),
        THUMBNAIL: lambda path: write_thumbnail(path, tissue.picture, settings.export),
        OVERLAY: lambda path: write_overlay(path, layers, result, caption_of(result, date), settings.export),
    }
    found = (_failure(folder / name, write) for name, write in exports.items())
    return [each for each in found if each is not None]


def _failure(path: Path, write: Callable[[Path], None]) -> ResultWarning | None:
    """Make one file; what failed as a warning, and nothing is left of an older file."""
    try:
        write(path)
    except InterruptedRunError:
        raise
    except Exception as error:  # the boundary of exports: one must not fail score and others
        log.warning("%s could not be written", path, exc_info=error)
        remove(path)
        reason = str(error) if isinstance(error, WsiNecrosisError) else repr(error)
        return ResultWarning("export_failed", f"{path.name} could not be written: {reason}")
    return None


def caption_of(result: Mapping[str, Any], date: str) -> Caption:
    """Slide, model, pixel size, version and date as text for an overlay's legend."""
    provenance = result["provenance"]
    model, slide = provenance["model"], provenance["slide"]
    mpp = Mpp(slide["mpp_x"], slide["mpp_y"])
    return Caption(
        result["slide_id"],
        f"{model['name']} ({model['sha256'][:8]})",
        model["notice"],
        f"{mpp} um ({slide['mpp_source']})",
        provenance["versions"]["wsi-necrosis"],
        date,
    )
