"""Labels that a person gives in the viewer: of the cells of reviews, and free marks."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wsi_necrosis.classes import CLASSES, UNSURE
from wsi_necrosis.errors import StoreError, UsageError
from wsi_necrosis.report.marks import MARK_LABELS, REMOVED, Mark, add_mark, all_marks, marks_that_count
from wsi_necrosis.review.labels import WITHDRAWN, Given, all_labels, import_labels, latest_by_reader
from wsi_necrosis.review.result import reading_facts, reading_sentences, result_of, write_result
from wsi_necrosis.review.sample import REVIEWS, Sample, read_sample
from wsi_necrosis.viewer.cells import Place
from wsi_necrosis.viewer.slides import ViewedSlide, ViewedSlides

MOST_NAME = 60  # characters of a reader's name


class Reviews:
    """Reviews and marks of an output folder; one label is written at a time.

    Parameters
    ----------
    slides : ViewedSlides
        Its slides.
    """

    def __init__(self, slides: ViewedSlides) -> None:
        self._slides, self._out = slides, slides.out
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Names of the reviews that were drawn."""
        found = []
        for path in sorted((self._out / REVIEWS).glob("*.json")):
            try:
                found.append(read_sample(self._out, path.stem).name)
            except (UsageError, StoreError):  # the result of a review, or not a review at all
                continue
        return found

    def hidden(self, slide: ViewedSlide, reader: str) -> set[Place]:
        """Cells of a slide that were drawn for a review and wait for a label by this reader."""
        found: set[Place] = set()
        for name in self.names():
            sample = read_sample(self._out, name)
            labels = self._labels(sample, reader)
            found |= {
                (cell.row, cell.col)
                for cell in sample.cells
                if sample.slides[cell.slide].folder == slide.folder and cell.number not in labels
            }
        return found

    def review(self, name: str, reader: str) -> dict[str, Any]:
        """A review as a reader sees it, JSON-ready: cells without what was predicted, labels, and at last the result.

        Raises
        ------
        UsageError
            There is no such review.
        """
        sample = read_sample(self._out, name)
        return self._state(sample, all_labels(self._out, sample), reader)

    def label(self, name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a label of a cell, or that it was taken back, and give the review as it is then.

        Parameters
        ----------
        name : str
            Of the review.
        facts : mapping
            `cell` (number), `label` (a class, "unsure", or empty to take the one before back), `reader`.

        Raises
        ------
        UsageError
            The label, the cell or the reader's name is none.
        """
        reader = reader_of(facts)
        cell, label = facts.get("cell"), facts.get("label")
        if not isinstance(cell, int) or label not in (*CLASSES, UNSURE, WITHDRAWN):
            raise UsageError(
                f"a label {str(label)[:40]!r} of cell {str(cell)[:40]!r} cannot be kept; give a number, and viable, "
                "non_viable, non_tumour or unsure"
            )
        with self._lock:
            sample, now = read_sample(self._out, name), _now()
            given = import_labels(self._out, sample, [Given(cell, str(label), reader, now)], now)
            write_result(self._out, sample, result_of(sample, given))
        return self._state(sample, given, reader)

    def marks(self, slide: ViewedSlide) -> list[dict[str, Any]]:
        """Free marks of a slide that count, JSON-ready."""
        return _shown(marks_that_count(all_marks(self._out)), slide)

    def mark(self, slide: ViewedSlide, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Keep a free mark of a cell, or that it was taken back, and give those of the slide.

        Parameters
        ----------
        slide : ViewedSlide
            The slide.
        facts : mapping
            `row`, `col`, `label` (one of `MARK_LABELS`, or empty to take it back), `reader`.

        Raises
        ------
        UsageError
            The label, the cell or the reader's name is none.
        """
        reader, grid = reader_of(facts), slide.cells.grid
        row, col, label = facts.get("row"), facts.get("col"), facts.get("label")
        if not isinstance(row, int) or not isinstance(col, int) or label not in (*MARK_LABELS, REMOVED):
            raise UsageError(
                f"a mark {str(label)[:40]!r} cannot be kept; give row and column, and viable, non_viable or unsure"
            )
        rows, cols = grid.shape
        if not (0 <= row < rows and 0 <= col < cols):
            raise UsageError(f"there is no cell {row}, {col}; this slide has {rows} x {cols} cells")
        width, height = grid.cell_l0
        x, y = grid.plane.x_l0, grid.plane.y_l0
        box = x + col * width, y + row * height, width, height
        with self._lock:
            made = Mark(slide.folder, row, col, *box, int(x), int(y), label, reader, _now())
            return _shown(add_mark(self._out, made), slide)

    def _labels(self, sample: Sample, reader: str) -> Mapping[int, str]:
        return latest_by_reader(all_labels(self._out, sample)).get(reader, {})

    def _state(self, sample: Sample, given: list[Given], reader: str) -> dict[str, Any]:
        result = result_of(sample, given)
        labels = result.by_reader.get(reader, {})
        own = next((each for each in result.readings if each.reader == reader), None)
        keys = [self._slides.key_of(slide.folder) for slide in sample.slides]
        return {
            "name": sample.name,
            "case": sample.case,
            "cells": [
                {
                    "number": cell.number,
                    "slide": keys[cell.slide],
                    "slide_id": sample.slides[cell.slide].slide_id,
                    "box_l0": cell.box_l0,
                    "label": labels.get(cell.number),
                }
                for cell in sample.cells
            ],
            "reading": None if own is None else reading_facts(sample, own),
            "sentences": [] if own is None else reading_sentences(sample, own),
        }


def reader_of(facts: Mapping[str, Any]) -> str:
    """Name of who labels; raises UsageError where it is none."""
    reader = facts.get("reader")
    if not isinstance(reader, str) or not reader.strip() or len(reader) > MOST_NAME:
        raise UsageError(f"say who labels: a name or initials, of at most {MOST_NAME} characters")
    return reader.strip()


def _shown(marks: list[Mark], slide: ViewedSlide) -> list[dict[str, Any]]:
    return [asdict(each) for each in marks if each.folder == slide.folder]


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
