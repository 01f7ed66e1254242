from __future__ import annotations

from pathlib import Path

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.dataset.annotated import Field, read_annotated
from wsi_necrosis.report.marks import Mark
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


def test_free_marks_are_written_too_but_not_those_of_drawn_cells(out: Path, tmp_path: Path) -> None:
    sample = sample_cells(out, 20, 1)
    labels = {cell.number: CLASSES[cell.predicted] for cell in sample.cells}
    drawn = {(cell.row, cell.col) for cell in sample.cells if cell.slide == 0}
    free = next((row, col) for row in range(5, 30) for col in range(5, 30) if (row, col) not in drawn)
    folder = sample.slides[0].folder

    def mark(place: tuple[int, int], label: str, reader: str = "A") -> Mark:
        return Mark(folder, *place, 64.0 * place[1], 64.0 * place[0], 64.0, 64.0, 0, 0, label, reader, "")

    def written(*marks: Mark) -> int:
        return write_tiles(tmp_path / "tiles", sample, {"A": labels}, marks=marks)

    assert written(mark(free, "viable"), mark(next(iter(drawn)), "viable")) == len(sample.cells) + 1
    slides = read_annotated(tmp_path / "tiles" / "slides.csv", Field(32, 1.0))
    assert sum(len(slide.outlines) for slide in slides) == len(sample.cells) + 1
    assert written(mark(free, "unsure")) == len(sample.cells)
    assert written(mark(free, "viable"), mark(free, "non_viable", "B")) == len(sample.cells)
