from __future__ import annotations

import json
from pathlib import Path

from wsi_necrosis.classes import CLASSES
from wsi_necrosis.review.labels import Given, reading_of
from wsi_necrosis.review.result import result_of, write_result
from wsi_necrosis.review.sample import sample_cells


def test_readers_who_have_finished_get_a_number(out: Path) -> None:
    sample = sample_cells(out, 20, 1)
    labels = {cell.number: CLASSES[cell.predicted] for cell in sample.cells}
    given = [Given(cell, label, "A") for cell, label in labels.items()]
    result = result_of(sample, [*given, Given(1, "unsure", "B")])
    assert result.readings == (reading_of(sample, "A", labels),)
    assert result.by_reader == {"A": labels, "B": {1: "unsure"}}
    first, second, third = result.sentences
    assert first.startswith("A: Percent viable ")
    assert second.startswith(
        f"B: {len(labels) - 1} of {len(labels)} cells have no label yet (the first is 2)"
    )
    assert third.startswith("A and B labelled 1 cell, 0 % of them alike")
    write_result(out, sample, result)
    facts = json.loads((out / "reviews" / "review-result.json").read_text())
    assert [each["reader"] for each in facts["readings"]] == ["A"]
