"""Write every file that other programs open, from a slide's results; the slide itself is not needed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from wsi_necrosis.errors import InterruptedRunError, WsiNecrosisError
from wsi_necrosis.export.annotation_store import write_annotation_store
from wsi_necrosis.export.foci import write_foci_regions, write_foci_table
from wsi_necrosis.export.geojson import write_regions, write_tissue
from wsi_necrosis.export.ome_tiff import write_ome_tiff
from wsi_necrosis.export.ome_zarr import write_ome_zarr
from wsi_necrosis.export.overlay import Caption, write_overlay, write_thumbnail
from wsi_necrosis.export.picture import Layers
from wsi_necrosis.export.tiles_geojson import write_tiles_geojson
from wsi_necrosis.export.tiles_table import write_tiles_csv, write_tiles_table
from wsi_necrosis.files import remove
from wsi_necrosis.geometry import Mpp
from wsi_necrosis.quantify.doubt import ResultWarning
from wsi_necrosis.quantify.foci import Focus, foci_of
from wsi_necrosis.quantify.heatmap import Heatmap, stitch
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.slide_folder import (
    ANNOTATIONS,
    EXPORT_FAILED,
    FOCI,
    FOCI_REGIONS,
    FORMATS,
    HEATMAP,
    HEATMAP_TIFF,
    OVERLAY,
    REGIONS,
    REGIONS_GZ,
    THUMBNAIL,
    TILES,
    TILES_CSV,
    TILES_GEOJSON,
    TISSUE_REGION,
)
from wsi_necrosis.scores.store import ScoreReader
from wsi_necrosis.settings.run import Settings
from wsi_necrosis.tiling.mask import Tissue, TissueMask

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """All that the files of a slide are made from.

    Attributes
    ----------
    result : mapping
        The content of `result.json`.
    read_tissue : callable
        Gives the mask and the picture to draw on, for formats that need them.
    mask : TissueMask
        What each pixel of the plane is; an array on disk that can be sliced is enough.
    scores : Scores
        Scores of each cell.
    reader : ScoreReader
        Their store, for the features of single cells.
    settings : Settings
        `quantify`, under which cells are labelled, and `export`.
    date : str
        Of the measurement.
    """

    result: Mapping[str, Any]
    read_tissue: Callable[[], Tissue]
    mask: TissueMask
    scores: Scores
    reader: ScoreReader
    settings: Settings
    date: str

    @cached_property
    def tissue(self) -> Tissue:
        """Mask, and the picture to draw on."""
        return self.read_tissue()

    @cached_property
    def heatmap(self) -> Heatmap:
        """Probabilities and labels of all cells over the slide's plane."""
        return stitch(self.scores, self.settings.quantify)

    @cached_property
    def foci(self) -> tuple[Focus, ...]:
        """Viable foci, ranked."""
        return foci_of(self.scores, self.settings.quantify)

    @property
    def layers(self) -> Layers:
        """What is drawn on pictures of the slide."""
        return Layers(self.tissue.picture, self.tissue.mask, self.heatmap)

    @property
    def fingerprint(self) -> str:
        """Of the slide."""
        return str(self.result["provenance"]["inputs"]["slide"]["fingerprint"])

    @property
    def caption(self) -> Caption:
        """Slide, model, pixel size, version and date as text for an overlay's legend."""
        provenance = self.result["provenance"]
        model, slide = provenance["model"], provenance["slide"]
        return Caption(
            self.result["slide_id"],
            f"{model['name']} ({model['sha256'][:8]})",
            model["notice"],
            f"{Mpp(slide['mpp_x'], slide['mpp_y'])} um ({slide['mpp_source']})",
            provenance["versions"]["wsi-necrosis"],
            self.date,
        )


WRITERS: Mapping[str, Callable[[Path, Material], None]] = MappingProxyType(
    {
        TILES: lambda path, m: write_tiles_table(path, m.scores, m.settings.quantify, m.result),
        TILES_CSV: lambda path, m: write_tiles_csv(path, m.scores, m.settings.quantify, m.result),
        TILES_GEOJSON: lambda path, m: write_tiles_geojson(
            path, m.scores, m.settings.quantify, m.fingerprint
        ),
        HEATMAP: lambda path, m: write_ome_zarr(path, m.heatmap, m.result["slide_id"]),
        HEATMAP_TIFF: lambda path, m: write_ome_tiff(path, m.heatmap, m.result["slide_id"], m.fingerprint),
        REGIONS: lambda path, m: write_regions(path, m.scores, m.heatmap, m.mask, m.fingerprint),
        REGIONS_GZ: lambda path, m: write_regions(path, m.scores, m.heatmap, m.mask, m.fingerprint),
        TISSUE_REGION: lambda path, m: write_tissue(path, m.scores.grid, m.mask, m.fingerprint),
        FOCI: lambda path, m: write_foci_table(path, m.foci, m.mask),
        FOCI_REGIONS: lambda path, m: write_foci_regions(path, m.foci, m.heatmap, m.mask, m.fingerprint),
        ANNOTATIONS: lambda path, m: write_annotation_store(
            path, m.scores, m.settings.quantify, m.fingerprint
        ),
        THUMBNAIL: lambda path, m: write_thumbnail(path, m.tissue.picture, m.settings.export),
        OVERLAY: lambda path, m: write_overlay(path, m.layers, m.result, m.caption, m.settings.export),
    }
)


def export_slide(folder: Path, material: Material, formats: Iterable[str]) -> list[ResultWarning]:
    """Write the files of some formats into a slide's folder, all but its report; files that exist are replaced.

    A file that cannot be made is left out, and the others are made: the scores are whole, and the next run of the
    slide makes the missing file.

    Parameters
    ----------
    folder : Path
        The slide's folder.
    material : Material
        What they are made from.
    formats : iterable of str
        Keys of `slide_folder.FORMATS`.

    Returns
    -------
    list of ResultWarning
        One for each file that could not be made, with code `export_failed`.
    """
    names = [name for format_ in formats for name in FORMATS[format_] if name in WRITERS]
    found = (attempt(folder / name, lambda path: WRITERS[path.name](path, material)) for name in names)
    return [each for each in found if each is not None]


def attempt(path: Path, write: Callable[[Path], None]) -> ResultWarning | None:
    """Make one file; what failed as a warning, and nothing is left of an older file."""
    try:
        write(path)
    except InterruptedRunError:
        raise
    except Exception as error:  # the boundary of exports: one must not fail score and others
        log.warning("%s could not be written", path, exc_info=error)
        remove(path)
        reason = str(error) if isinstance(error, WsiNecrosisError) else repr(error)
        return ResultWarning(EXPORT_FAILED, f"{path.name} could not be written: {reason}")
    return None
