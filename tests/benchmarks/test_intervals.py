"""The simulation behind docs/intervals.md, in short."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.intervals import block_sums, intervals, viable_cells


def test_patches_have_the_share_that_is_aimed_at() -> None:
    rng = np.random.default_rng(0)
    found = np.mean([viable_cells(30, rng).mean() for _ in range(60)])
    assert found == pytest.approx(0.3, abs=0.02)
    sums = block_sums(viable_cells(30, rng))
    assert (len(sums), sums.sum()) == (40, 80 * 120)


def test_blocks_hold_the_truth_and_tiles_do_not() -> None:
    found = list(intervals(30, 25, 1))
    share = {name: np.mean([each[name].holds("t2") for each in found]) for name in found[0]}
    assert share["tiles, classifier never wrong"] < 0.5
    assert share["blocks, classifier never wrong"] >= 0.84
    assert share["blocks, classifier that errs"] < 0.9
    assert share["blocks and 20 patients, classifier that errs"] >= 0.84
