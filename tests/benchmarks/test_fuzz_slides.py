"""The short form of `benchmarks/fuzz_slides.py`."""

from collections import Counter
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts import one another by their names."""
    monkeypatch.syspath_prepend(str(SCRIPTS))


def test_mutated_slides_are_refused_or_read_and_end_no_process(tmp_path: Path) -> None:
    from fuzz_slides import FAULTS, fuzz

    found = fuzz(tmp_path, slides=40, seed=11)
    counts = Counter(outcome.kind for _, outcome in found)
    assert [each for each in found if each[1].kind in {*FAULTS, "other"}] == []
    assert counts["refused"] > 5
    assert counts["same"] > 5


@pytest.mark.slow
def test_a_batch_of_mutated_slides_ends_with_an_outcome_for_each(tmp_path: Path) -> None:
    from fuzz_slides import fuzz_batch

    ended = fuzz_batch(tmp_path, slides=5, seed=11)
    assert (ended["state"], ended["slides"], ended["without_outcome"]) == ("finished", 5, 0)
    assert ended["unexpected"] == []
    assert ended["scored"] > 0
    assert ended["failed"] > 0
