"""Labelled cells of a review as annotated slides, which `wsi-necrosis train` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import write_json
from wsi_necrosis.review.sample import ReviewCell, Sample

COLUMNS = ("slide", "case", "annotations", "mpp_x", "mpp_y")


def write_tiles(folder: Path, sample: Sample, by_reader: Mapping[str, Mapping[int, str]]) -> int:
    """Write `slides.csv` and an annotation of each slide; return the number of cells in them.

    Cells count on whose label all readers agree, and that are one of `classes.CLASSES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    agreed = {cell: label for cell in sample.cells if (label := _agreed(cell, by_reader)) is not None}
    rows = []
    for at, slide in enumerate(sample.slides):
        features = [_feature(cell, label) for cell, label in agreed.items() if cell.slide == at]
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


def _feature(cell: ReviewCell, label: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "geometry": cell.geometry,
        "properties": {
            "objectType": "annotation",
            "classification": {"name": TUMOUR_CLASSES[CLASSES.index(label)].title},
        },
    }
