import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from tests.helpers.complete_scores import FAR, NON_TUMOUR, SHIPPED, measured, random_prob, scores, settings
from wsi_necrosis.quantify.intervals import NEIGHBOURS, interval_of_blocks
from wsi_necrosis.quantify.percentage import measure
from wsi_necrosis.scores.labels import CellLabel, cell_class


def test_ood_cells_are_in_no_block_of_the_bootstrap() -> None:
    prob = random_prob(np.random.default_rng(0), (24, 32))
    ood = np.zeros((24, 32))
    ood[:8, :8] = FAR
    found = measure(scores(prob, ood=ood), SHIPPED)
    missing = np.where((ood > 0)[..., None], np.nan, prob)
    assert found.interval == measure(scores(missing), SHIPPED).interval
    assert (cell_class(scores(prob, ood=ood), SHIPPED)[:8, :8] == CellLabel.ABSTAINED).all()


def test_interval_takes_blocks_of_4_mm_then_2_mm_then_none() -> None:
    large, small, none = measured((3, 4)), measured((1, 11)), measured((1, 2))
    assert large.interval is not None
    assert (large.interval.block_mm, large.interval.n_blocks) == (4.0, 12)
    assert small.interval is not None
    assert (small.interval.block_mm, small.interval.n_blocks) == (2.0, 44)
    assert none.interval is None
    assert none.interval_reason == "interval: not available (too little tissue)"
    assert none.percent_viable is not None


def test_blocks_without_tumour_do_not_count_towards_the_minimum() -> None:
    prob = np.full((24, 32, 3), NON_TUMOUR)
    prob[:8, :8] = (0.1, 0.4, 0.5)  # one block of 4 mm, four of 2 mm
    assert measure(scores(prob), SHIPPED).interval is None


def test_blocks_are_square_in_mm_where_pixels_are_not() -> None:
    prob = random_prob(np.random.default_rng(0), (16, 16))
    found = measure(scores(prob, cell_mm=(2.0, 1.0)), SHIPPED).interval  # 32 mm wide, 16 mm high
    assert found is not None
    assert (found.block_mm, found.n_blocks) == (4.0, 32)


def test_interval_names_its_target_and_what_it_leaves_out() -> None:
    found = measured((3, 4)).interval
    assert found is not None
    assert found.target.startswith("expected over the tumour")
    assert "classifier error" in found.covers
    assert "not covered" in found.covers
    assert found.confidence == 0.95


def test_interval_repeats_with_its_seed_and_widens_with_confidence() -> None:
    first, again, other = measured((4, 4)), measured((4, 4)), measured((4, 4), confidence=0.5)
    assert first == again
    assert first.interval is not None
    assert other.interval is not None
    assert first.interval.low < other.interval.low < other.interval.high < first.interval.high
    assert measured((4, 4), seed=1).interval != first.interval


def test_interval_has_the_width_of_the_delta_method() -> None:
    rng = np.random.default_rng(3)
    share = rng.beta(2, 3, size=(10, 10)).repeat(8, axis=0).repeat(8, axis=1)
    prob = np.stack([0 * share, 1 - share, share], axis=-1)
    score = measure(scores(prob), settings(estimator="soft"))
    block = share[::8, ::8].ravel()
    wide = t.ppf(0.975, block.size - 1) * np.sqrt(NEIGHBOURS)  # with n - 1 in the standard deviation
    half = wide * 100 * block.std(ddof=1) / np.sqrt(block.size)
    assert score.interval is not None
    assert score.percent_viable == pytest.approx(100 * block.mean(), rel=1e-6)
    assert (score.interval.high - score.interval.low) / 2 == pytest.approx(half, rel=0.1)
    assert score.interval.low < 100 * block.mean() < score.interval.high


@given(st.integers(0, 1000))
def test_moving_cells_within_a_block_changes_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prob = random_prob(rng, (24, 32))
    moved = prob.copy()
    moved[8:16, 16:24] = rng.permutation(prob[8:16, 16:24].reshape(64, 3)).reshape(8, 8, 3)
    few = settings(bootstrap_draws=50)
    before, after = measure(scores(prob), few), measure(scores(moved), few)
    assert before.interval is not None
    assert after.interval is not None
    assert after.percent_viable == pytest.approx(before.percent_viable)
    assert (after.interval.low, after.interval.high) == pytest.approx(
        (before.interval.low, before.interval.high)
    )


@pytest.mark.parametrize("rare", [1, 2])
def test_one_block_of_a_kind_gives_a_reason_and_no_interval(rare: int) -> None:
    """Resampled, such a block is left out in a third of draws: an end of 0 % would come of that alone."""
    prob = np.broadcast_to(np.eye(3)[3 - rare], (32, 32, 3)).copy()
    prob[0, 0] = np.eye(3)[rare]
    found = measure(scores(prob), SHIPPED)
    assert found.interval is None
    assert "less than two blocks of 4 mm hold" in str(found.interval_reason)
    prob[31, 31] = np.eye(3)[rare]
    both = measure(scores(prob), SHIPPED).interval
    assert both is not None
    assert both.low < both.high


def test_patients_correct_the_reading_and_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    viable = rng.binomial(256, 0.3, size=40)
    blocks = np.stack([0 * viable, 256 - viable, viable], axis=-1).astype(float)
    right = [tuple(map(tuple, np.eye(3)))] * 10
    alone, sure = interval_of_blocks(blocks, 0.95, 500, 1), interval_of_blocks(blocks, 0.95, 500, 1, right)
    assert sure == pytest.approx(alone, abs=1)
    errs = [((1, 0, 0), (0, 0.9 - at / 100, 0.1 + at / 100), (0, 0.1, 0.9)) for at in range(10)]
    low, high = interval_of_blocks(blocks, 0.95, 500, 1, errs)
    assert high - low > 2 * (alone[1] - alone[0])
    assert (low + high) / 2 < 28  # a tenth and more of the rest was called viable


def test_auto_blocks_are_as_long_as_1_6_ranges() -> None:
    rng = np.random.default_rng(0)
    patches = np.repeat(np.repeat(rng.random((20, 20)) < 0.5, 4, axis=0), 4, axis=1)  # of 2 mm
    prob = np.eye(3)[1 + patches.astype(int)]
    found = measure(scores(prob), settings(block_mm="auto")).interval
    assert found is not None
    assert 2 < found.block_mm < 5
    one_sided = np.eye(3)[1 + (np.indices((40, 40))[0] < 20)]
    none = measure(scores(one_sided), settings(block_mm="auto"))
    assert none.interval_reason == "interval: not available (too little tissue)"


def test_hard_sums_are_resampled_as_certain_cells_are() -> None:
    prob = random_prob(np.random.default_rng(4), (32, 32))
    certain = np.eye(3, dtype=np.float32)[prob.argmax(axis=-1)]
    hard = measure(scores(prob), settings(estimator="by_class"))
    soft = measure(scores(certain), settings(estimator="soft"))
    assert hard.interval is not None
    assert hard.interval == soft.interval
    assert hard.interval != measure(scores(prob), settings(estimator="soft")).interval
    assert hard.interval.low < hard.percent_viable < hard.interval.high


def test_hard_blocks_without_a_cell_of_tumour_are_not_drawn() -> None:
    prob = random_prob(np.random.default_rng(4), (32, 32))
    prob[:8] = (0.6, 0.3, 0.1)  # no tumour by class, and some by probability
    prob[:8, :8] = (0.4, 0.3, 0.3)  # likely tumour, in one block of 4 mm; of no class of tumour
    hard, soft = (measure(scores(prob), settings(estimator=each)).interval for each in ("by_class", "soft"))
    assert hard is not None
    assert soft is not None
    assert (hard.n_blocks, hard.n_tumour_blocks) == (12, 12)
    assert (soft.n_blocks, soft.n_tumour_blocks) == (16, 13)
