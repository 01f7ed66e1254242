"""The short form of `benchmarks/fuzz_slides.py`."""

from collections import Counter
from pathlib import Path

from benchmarks.fuzz_slides import FAULTS, fuzz


def test_mutated_slides_are_refused_or_read_and_end_no_process(tmp_path: Path) -> None:
    found = fuzz(tmp_path, slides=40, seed=11)
    counts = Counter(outcome.kind for _, outcome in found)
    assert [each for each in found if each[1].kind in {*FAULTS, "other"}] == []
    assert counts["refused"] > 5
    assert counts["same"] > 5
