"""Labelled cells of a review, and corrected regions, as annotated slides, which `wsi-necrosis train` reads."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shapely.geometry import mapping

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.dataset.annotations import read_outlines
from wsi_necrosis.export.csv_table import write_csv
from wsi_necrosis.files import write_json
from wsi_necrosis.report.marks import Mark
from wsi_necrosis.review.sample import Sample, outline

COLUMNS = ("slide", "case", "annotations", "mpp_x", "mpp_y")


def write_tiles(
    folder: Path,
    sample: Sample,
    by_reader: Mapping[str, Mapping[int, str]],
    regions: Mapping[str, Path | None] = MappingProxyType({}),
    marks: Sequence[Mark] = (),
) -> int:
    """Write `slides.csv` and an annotation of each slide; return the number of cells in them.

    Cells count on whose label all readers agree, and that are one of `classes.CLASSES`; so do free marks of cells
    that were not drawn. Regions are taken as they were drawn; a cell inside one takes its area from it.

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
    marks : sequence of Mark
        Free marks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows, count = [], 0
    for at, slide in enumerate(sample.slides):
        path = regions.get(slide.slide_id)
        outlined = () if path is None else read_outlines(path)
        drawn = {(cell.row, cell.col): cell for cell in sample.cells if cell.slide == at}
        cells = [
            _feature(cell.geometry, _title(label))
            for cell in drawn.values()
            if (label := _agreed([labels.get(cell.number) for labels in by_reader.values()])) is not None
        ]
        cells += _of_marks([each for each in marks if each.folder == slide.folder], drawn)
        count += len(cells)
        features = [*(_feature(mapping(each.polygon), each.name) for each in outlined), *cells]
        if features:
            name = f"{at}.geojson"
            write_json(folder / name, {"type": "FeatureCollection", "features": features})
            facts = (slide.path, sample.case or sample.name, name, slide.mpp_x, slide.mpp_y)
            rows.append(dict(zip(COLUMNS, facts, strict=True)))
    write_csv(folder / "slides.csv", rows, COLUMNS)
    return count


def _of_marks(marks: Sequence[Mark], drawn: Container[tuple[int, int]]) -> Iterator[dict[str, object]]:
    """Features of the marked cells of a slide that were not drawn."""
    by_cell: dict[tuple[int, int], list[Mark]] = {}
    for mark in marks:
        by_cell.setdefault((mark.row, mark.col), []).append(mark)
    for place, found in by_cell.items():
        label = _agreed([mark.label for mark in found])
        if label is not None and place not in drawn:
            yield _feature(outline(found[0].box_l0, found[0].origin_l0), _title(label))


def _agreed(labels: Iterable[str | None]) -> str | None:
    """The class that all who labelled a cell gave it; None where they differ, or it is none."""
    found = {label for label in labels if label is not None}
    return found.pop() if len(found) == 1 and found <= set(CLASSES) else None


def _title(label: str) -> str:
    return TUMOUR_CLASSES[CLASSES.index(label)].title


def _feature(geometry: Mapping[str, Any], name: str) -> dict[str, object]:
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"objectType": "annotation", "classification": {"name": name}},
    }
