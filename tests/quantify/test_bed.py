from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from tests.helpers.complete_scores import (
    NON_TUMOUR,
    NON_VIABLE,
    SHIPPED,
    VIABLE,
    scores,
    settings,
    stores,
    thresholds,
)
from wsi_necrosis.quantify.bed import bed_of
from wsi_necrosis.quantify.cells import cells_of
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.scores.block_scores import Scores
from wsi_necrosis.settings.run import QuantifySettings
from wsi_necrosis.tiling.grid import PixelCount

BED = settings(policy="tumour_bed", bed_min_mm2=0.0, min_tumour_mm2=0.0)


def pictured(rows: list[str]) -> Scores:
    """Cells by letters: v viable, n non-viable, o no tumour."""
    classes = {"v": VIABLE, "n": NON_VIABLE, "o": NON_TUMOUR}
    return scores(np.array([[classes[letter] for letter in row] for row in rows]))


def test_the_hull_takes_in_what_lies_between_tumour_and_all_three_shares_make_100() -> None:
    store = pictured(["vnvnv", "vooon", "nvnvn", "ooooo"])
    score = measure(store, BED)
    assert score.bed is not None
    assert score.bed.source == "hull"
    assert score.bed.non_tumour_mm2 == pytest.approx(3 * 100 * store.px_mm2)
    assert score.bed.viable_mm2 == pytest.approx(6 * 100 * store.px_mm2)
    assert score.percent_viable == pytest.approx(100 * 6 / 15)
    assert score.percent_necrosis == pytest.approx(100 * 6 / 15)
    assert score.bed.percent_non_tumour == pytest.approx(100 * 3 / 15)
    assert (score.limit_of_blank, score.interval) == (None, None)
    assert "tumour_bed" in str(score.interval_reason)


def test_a_few_cells_far_away_do_not_widen_the_hull_but_count() -> None:
    store = pictured(["vvvooooo", "vvvooooo", "oooooooo", "ooooooov"])
    narrow = measure(store, BED.model_copy(update={"bed_min_mm2": 0.25}))
    assert narrow.percent_viable == 100.0
    wide = measure(store, BED)
    assert wide.percent_viable is not None
    assert wide.percent_viable < 50


def test_a_region_of_interest_is_the_bed() -> None:
    store = pictured(["vooo", "nooo"])
    px = store.px.copy()
    px[0, 3, PixelCount.OUTSIDE_REGION] = 1
    score = measure(replace(store, px=px), BED)
    assert score.bed is not None
    assert (score.bed.source, score.percent_viable) == ("region", 100 / 8)


def test_the_hull_of_a_round_bed_is_that_bed() -> None:
    """Of a bed 40 cells across, 30 % of which are tumour, the hull differs by at most 5 % of the area."""
    rows, cols = np.indices((50, 60))
    drawn = np.hypot(rows - 24.5, (cols - 29.5) / 1.3) < 20
    tumour = drawn & (np.random.default_rng(0).random(drawn.shape) < 0.3)
    prob = np.where(tumour[..., None], NON_VIABLE, NON_TUMOUR)
    store = scores(prob)
    found = bed_of(store, cells_of(store, SHIPPED), BED).cells.reshape(drawn.shape)
    assert (found ^ drawn).sum() <= 0.05 * drawn.sum()


@given(stores(), thresholds)
def test_shares_make_100_and_tumour_is_always_in_the_bed(store: Scores, wanted: QuantifySettings) -> None:
    plain, bed = measure(store, wanted), measure(store, wanted.model_copy(update={"policy": "tumour_bed"}))
    assert bed.ledger == plain.ledger
    assert bed.status == plain.status
    if bed.percent_viable is None:
        return
    assert bed.bed is not None
    assert bed.percent_necrosis is not None
    assert bed.bed.percent_non_tumour is not None
    assert bed.percent_viable + bed.percent_necrosis + bed.bed.percent_non_tumour == pytest.approx(100)
    assert bed.bed.viable_mm2 + bed.bed.non_viable_mm2 + bed.bed.non_tumour_mm2 <= bed.ledger.tissue_mm2 * (
        1 + 1e-12
    )
    assert bed.percent_viable_by_class is not None
    assert plain.percent_viable_by_class is not None
    assert bed.percent_viable_by_class <= plain.percent_viable_by_class + 1e-9
