"""Labelled tiles from every source, splits that never share a case, and the crops that a model sees.

Four layouts are read (`data.layout`; `auto` looks which one it is):

table
    A CSV file, or a folder that holds `labels.csv`: columns file, case and label, and optionally slide, x,
    y, mpp and sha256; further columns are ignored. Files are named relative to the table.
tcia
    The download of TCIA's Osteosarcoma-Tumor-Assessment as it comes, labelled by a `PathologistValidation.csv`
    in each folder of pictures, by `ML_Features_1144.csv`, or by both.
slides
    A folder that holds `slides.csv` (or that file): columns slide, case and annotations, and optionally mpp_x
    and mpp_y. Tiles are cut where QuPath's polygons of one class cover them.
folders
    CASE/LABEL/picture.

Labels are those of TCIA or names of `classes.CLASSES`, spelled exactly so. No label falls into a default
class, and all faults of one kind are listed at once.
"""

from __future__ import annotations

from wsi_necrosis.dataset.annotated import Field
from wsi_necrosis.dataset.crops import cut_crops
from wsi_necrosis.dataset.labels import LABELS, MIXED_LABEL, Truth
from wsi_necrosis.dataset.reading import find_layout, read_tiles
from wsi_necrosis.dataset.tables import COLUMNS
from wsi_necrosis.dataset.tcia import TileName, parse_name
from wsi_necrosis.dataset.tiles import Fold, LabelledTile, cases_of, inner_fold, leave_case_out

__all__ = [
    "COLUMNS",
    "LABELS",
    "MIXED_LABEL",
    "Field",
    "Fold",
    "LabelledTile",
    "TileName",
    "Truth",
    "cases_of",
    "cut_crops",
    "find_layout",
    "inner_fold",
    "leave_case_out",
    "parse_name",
    "read_tiles",
]
