"""Labelled cells of a review, and corrected regions, as annotated slides, which `wsi-necrosis train` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shapely.geometry import mapping

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.dataset.annotations import read_outlines
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import write_json
from wsi_necrosis.review.sample import ReviewCell, Sample

COLUMNS = ("slide", "case", "annotations", "mpp_x", "mpp_y")


def write_tiles(
    folder: Path,
    sample: Sample,
    by_reader: Mapping[str, Mapping[int, str]],
    regions: Mapping[str, Path | None] = MappingProxyType({}),
) -> int:
    """Write `slides.csv` and an annotation of each slide; return the number of cells in them.

    Cells count on whose label all readers agree, and that are one of `classes.CLASSES`. Regions are taken as they were
    drawn; a cell inside one takes its area from it.

    Parameters
    ----------
    folder : Path
        Where they are written.
    sample : Sample
        The cells.
    by_reader : mapping of str to mapping of int to str
        Label of each cell by reader.
    regions : mapping of str to Path or None
        By `slide_id`, GeoJSON of regions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    agreed = {cell: label for cell in sample.cells if (label := _agreed(cell, by_reader)) is not None}
    rows = []
    for at, slide in enumerate(sample.slides):
        path = regions.get(slide.slide_id)
        drawn = () if path is None else read_outlines(path)
        features = [
            *(_feature(mapping(each.polygon), each.name) for each in drawn),
            *(_feature(cell.geometry, _title(label)) for cell, label in agreed.items() if cell.slide == at),
        ]
        if features:
            name = f"{at}.geojson"
            write_json(folder / name, {"type": "FeatureCollection", "features": features})
            facts = (slide.path, sample.case or sample.name, name, slide.mpp_x, slide.mpp_y)
            rows.append(dict(zip(COLUMNS, facts, strict=True)))
    write_csv(folder / "slides.csv", rows, COLUMNS)
    return len(agreed)


def _agreed(cell: ReviewCell, by_reader: Mapping[str, Mapping[int, str]]) -> str | None:
    labels = {labels[cell.number] for labels in by_reader.values() if cell.number in labels}
    return labels.pop() if len(labels) == 1 and labels <= set(CLASSES) else None


def _title(label: str) -> str:
    return TUMOUR_CLASSES[CLASSES.index(label)].title


def _feature(geometry: Mapping[str, Any], name: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }
