"""`regions.geojson` and `tissue.geojson`: connected regions of one class, and all tissue, as annotations for QuPath."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np
from numpy.typing import NDArray
from skimage.measure import label as connected

from wsi_necrosis.classes import VIABLE
from wsi_necrosis.export.outlines import Seams, in_qupath, parts_of_regions, whole, write_features
from wsi_necrosis.quantify.heatmap import Heatmap
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.grid import PixelCount, TileGrid
from wsi_necrosis.tiling.mask import MaskClass, TissueMask

TISSUE_COLOUR = (0, 114, 178)  # blue of Okabe and Ito, which no class has


@dataclass(frozen=True)
class _Regions:
    """Regions of one label each; arrays of one item per region.

    `label`, `first` (row, col of the first cell), `outlines` (of its parts, in mask pixels, which meet at
    `seams`), `cells`, `area_mm2`, and `p_viable`, the mean weighted with tissue (NaN where nothing was scored).
    """

    label: NDArray[np.uint8]
    first: NDArray[np.int64]
    outlines: list[list[Any]]
    seams: Seams
    cells: NDArray[np.int64]
    area_mm2: NDArray[np.floating[Any]]
    p_viable: NDArray[np.floating[Any]]


def write_regions(path: Path, scores: Scores, heatmap: Heatmap, mask: TissueMask, fingerprint: str) -> None:
    """Write one annotation per region: the tissue of cells that share a label and an edge.

    Outlines follow the tissue mask and hold the very mask pixels that the ledger counts, so that the areas of a class
    add up to its term by class, and those of abstained and unreadable tissue to theirs. A region whose tissue lies in
    several pieces is a MultiPolygon. Coordinates are level-0 pixels with the slide's bounds subtracted, which is
    QuPath's frame.

    Parameters
    ----------
    path : Path
        The file to write, compressed if its name ends in `.gz`; one that exists is replaced.
    scores : Scores
        For the pixels in each cell.
    heatmap : Heatmap
        Labels and probabilities of the same cells.
    mask : TissueMask
        What each pixel of the plane is.
    fingerprint : str
        Of the slide: with class and first cell it makes the identifier of a region, so that two runs give
        the same ones.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    namespace = uuid5(NAMESPACE_OID, fingerprint)
    regions = _regions(scores, heatmap, mask)
    write_features(path, (_feature(regions, at, mask, namespace) for at in range(len(regions.label))))


def write_tissue(path: Path, grid: TileGrid, mask: TissueMask, fingerprint: str) -> None:
    """Write all tissue as one annotation; none where there is no tissue.

    It has a file of its own: beside the regions every area would count twice.

    Parameters
    ----------
    path : Path
        The GeoJSON; one that exists is replaced.
    grid : TileGrid
        Cells of the slide, by which the mask is looked at.
    mask : TissueMask
        What each pixel of the plane is; an array on disk that can be sliced is enough.
    fingerprint : str
        Of the slide, for an identifier that two runs give alike.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    (px,), (parts,), seams = parts_of_regions(
        grid, mask, 1, lambda kind, _: (kind == MaskClass.TISSUE).astype(np.int32)
    )
    facts = {
        "id": str(uuid5(uuid5(NAMESPACE_OID, fingerprint), "tissue")),
        "properties": {
            "objectType": "annotation",
            "name": "Tissue",
            "classification": {"name": "Tissue", "color": list(TISSUE_COLOUR)},
            "isLocked": True,
            "measurements": {"Area mm^2": float(px * mask.px_mm2)},
        },
    }
    write_features(path, [(facts, in_qupath(whole(parts, seams), mask))] if parts else [])


def _regions(scores: Scores, heatmap: Heatmap, mask: TissueMask) -> _Regions:
    """The regions of all labels, one label after another, each in the order of its first cells."""
    cells = _regions_of_cells(scores, heatmap)
    known = [np.nonzero(each.ravel())[0] for each in cells]  # cells that a label has
    at, number = (
        np.concatenate(known),
        np.concatenate([each.ravel()[k] for each, k in zip(cells, known, strict=True)]),
    )
    _, first, index = np.unique(number, return_index=True, return_inverse=True)
    n = len(first)
    area, outlines, seams = parts_of_regions(
        heatmap.grid, mask, n, lambda kind, of_cell: _region_of_pixels(cells, heatmap.label, kind, of_cell)
    )
    tissue = scores.px[..., PixelCount.TISSUE].ravel()[at].astype(np.float64)
    viable = np.nan_to_num(heatmap.channels[VIABLE].ravel()[at])
    weight, weighted = np.bincount(index, tissue, n), np.bincount(index, tissue * viable, n)
    labels = np.repeat(np.array(list(PALETTE), np.uint8), [len(k) for k in known])
    return _Regions(
        label=labels[first],
        first=np.stack(np.unravel_index(at[first], heatmap.label.shape), axis=-1),
        outlines=outlines,
        seams=seams,
        cells=np.bincount(index, minlength=n),
        area_mm2=area * scores.px_mm2,
        p_viable=np.divide(weighted, weight, out=np.full(n, np.nan), where=weight > 0),
    )


def _regions_of_cells(scores: Scores, heatmap: Heatmap) -> list[NDArray[np.int32]]:
    """For each label the number of the region of each of its cells, 0 for none; numbers are of all labels together.

    A cell has a label of its own and may hold unreadable pixels beside, which are a region of theirs.
    """
    found, n = [], 0
    for label in PALETTE:
        is_lost = label == CellLabel.UNREADABLE
        has = scores.px[..., PixelCount.UNREADABLE] > 0 if is_lost else heatmap.label == label
        regions = connected(has, connectivity=1, background=0).astype(np.int32)
        regions[has] += n
        found.append(regions)
        n = max(n, int(regions.max(initial=0)))
    return found


def _region_of_pixels(
    cells: list[NDArray[np.int32]], label: NDArray[np.uint8], kind: NDArray[np.uint8], of_cell: Any
) -> NDArray[np.int32]:
    """The number of the region of each pixel of some rows of the mask, 0 for none; `of_cell` indexes their cells."""
    tissue, pixels, label_of = kind == MaskClass.TISSUE, np.zeros(kind.shape, np.int32), label[of_cell]
    for each, regions in zip(PALETTE, cells, strict=True):
        inside = tissue & (label_of == each)
        if each == CellLabel.UNREADABLE:
            inside |= kind == MaskClass.UNREADABLE
        pixels[inside] = regions[of_cell][inside]
    return pixels


def _feature(regions: _Regions, at: int, mask: TissueMask, namespace: UUID) -> tuple[dict[str, Any], Any]:
    outline = whole(regions.outlines[at], regions.seams)
    regions.outlines[at].clear()  # so that not all are in memory twice
    label = int(regions.label[at])
    colour = PALETTE[label]
    row, col = regions.first[at].tolist()
    area = float(regions.area_mm2[at])
    facts = {
        "id": str(uuid5(namespace, f"{colour.qupath}:{row}.{col}")),
        "properties": {
            "objectType": "annotation",
            "name": f"{colour.title}, {area:.3g} mm2",
            "classification": {"name": colour.qupath, "color": list(colour.rgb)},
            "isLocked": False,
            "measurements": _measurements(regions, at),
        },
    }
    return facts, in_qupath(outline, mask)


def _measurements(regions: _Regions, at: int) -> dict[str, float]:
    """The finite measurements only: QuPath refuses others."""
    found = {
        "Area mm^2": float(regions.area_mm2[at]),
        "Cells": float(regions.cells[at]),
        "Mean p viable": float(regions.p_viable[at]),
    }
    return {name: value for name, value in found.items() if np.isfinite(value)}
