from __future__ import annotations

from pathlib import Path

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field, read_annotated
from wsi_necrosis.review.sample import sample_cells
from wsi_necrosis.review.tiles import write_tiles


def test_agreed_labels_are_annotations_that_training_reads(out: Path, tmp_path: Path) -> None:
    sample = sample_cells(out, 20, 1)
    labels = {cell.number: CLASSES[cell.predicted] for cell in sample.cells} | {1: "unsure"}
    disputed = labels | {2: next(name for name in CLASSES if name != labels[2])}
    count = write_tiles(tmp_path / "tiles", sample, {"A": labels, "B": disputed})
    assert count == len(sample.cells) - 2
    slides = read_annotated(tmp_path / "tiles" / "slides.csv", Field(32, 1.0))
    assert sum(len(slide.outlines) for slide in slides) == count
    assert {slide.row.case for slide in slides} == {"review"}
