"""`foci.csv` and `foci.geojson`: the viable foci of a slide, ranked, to be looked at first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.export.outlines import in_qupath, parts_of_regions, whole, write_features
from wsi_necrosis.export.summary import rounded
from wsi_necrosis.quantify.foci import Focus, numbered_foci
from wsi_necrosis.quantify.heatmap import Heatmap
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel
from wsi_necrosis.tiling.mask import MaskClass, TissueMask


@dataclass(frozen=True)
class FocusRow:
    """A row of `foci.csv`: places are pixels of level 0 with the slide's bounds subtracted, as QuPath counts them."""

    rank: int
    area_mm2: float
    viable_mm2: float
    mean_prob: float
    max_prob: float
    extent_mm: float
    cells: int
    look_x: float
    look_y: float
    left: float
    top: float
    width: float
    height: float


COLUMNS = tuple(FocusRow.__dataclass_fields__)


def write_foci_table(path: Path, foci: Sequence[Focus], mask: TissueMask) -> None:
    """Write a row per focus, in the order of their ranks.

    Parameters
    ----------
    path : Path
        The CSV; one that exists is replaced.
    foci : sequence of Focus
        Of the slide, ranked.
    mask : TissueMask
        For the corner of the slide's plane.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    rows = [{name: rounded(value) for name, value in vars(_row(focus, mask)).items()} for focus in foci]
    write_csv(path, rows, COLUMNS)


def write_foci_regions(
    path: Path, foci: Sequence[Focus], heatmap: Heatmap, mask: TissueMask, fingerprint: str
) -> None:
    """Write one annotation per focus for QuPath: its tissue, with its rank in the name and its measurements.

    Parameters
    ----------
    path : Path
        The GeoJSON; one that exists is replaced.
    foci : sequence of Focus
        Of the slide, ranked.
    heatmap : Heatmap
        Labels of the same cells.
    mask : TissueMask
        What each pixel of the plane is.
    fingerprint : str
        Of the slide, for identifiers that two runs give alike.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    cells, namespace = numbered_foci(heatmap.label).astype(np.int32), uuid5(NAMESPACE_OID, fingerprint)
    _, parts, seams = parts_of_regions(
        heatmap.grid,
        mask,
        len(foci),
        lambda kind, of_cell: np.where(kind == MaskClass.TISSUE, cells[of_cell], 0),
    )
    with_tissue = (focus for focus in foci if parts[focus.number - 1])
    write_features(
        path,
        (
            (
                _facts(_row(focus, mask), str(uuid5(namespace, f"focus {focus.number}"))),
                in_qupath(whole(parts[focus.number - 1], seams), mask),
            )
            for focus in with_tissue
        ),
    )


def _row(focus: Focus, mask: TissueMask) -> FocusRow:
    left, top = mask.plane.x_l0, mask.plane.y_l0
    return FocusRow(
        rank=focus.rank,
        area_mm2=focus.area_mm2,
        viable_mm2=focus.viable_mm2,
        mean_prob=focus.mean_prob,
        max_prob=focus.max_prob,
        extent_mm=focus.extent_mm,
        cells=focus.cells,
        look_x=focus.centre_l0[0] - left,
        look_y=focus.centre_l0[1] - top,
        left=focus.box.x_l0 - left,
        top=focus.box.y_l0 - top,
        width=focus.box.width_l0,
        height=focus.box.height_l0,
    )


def _facts(row: FocusRow, identifier: str) -> dict[str, Any]:
    colour = PALETTE[CellLabel.VIABLE]
    return {
        "id": identifier,
        "properties": {
            "objectType": "annotation",
            "name": f"focus {row.rank}, {row.area_mm2:.3g} mm2",
            "classification": {"name": colour.qupath, "color": list(colour.rgb)},
            "isLocked": False,
            "measurements": {
                "Rank": float(row.rank),
                "Area mm^2": row.area_mm2,
                "Mean p viable": row.mean_prob,
                "Max p viable": row.max_prob,
                "Extent mm": row.extent_mm,
                "Cells": float(row.cells),
            },
        },
    }
