from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import UsageError
from wsi_necrosis.metrics.readers import bland_altman, icc, kappa, weighted_kappa

# Peak expiratory flow by two meters: Bland and Altman, Lancet 1986, i, 307-310, table 1.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]

# Six cases, four judges: Shrout and Fleiss, Psychological Bulletin 86 (1979), table 2.
JUDGES = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]

# Diagnoses of 200 cases by two judges: Cohen, Educational and Psychological Measurement 20 (1960) and
# Psychological Bulletin 70 (1968), table 1; and answers of 91 couples: Agresti, Categorical Data Analysis.
DIAGNOSES = [[88, 14, 18], [10, 40, 10], [2, 6, 12]]
COUPLES = [[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]]


def test_limits_of_agreement_are_those_of_the_paper() -> None:
    found = bland_altman(LARGE, MINI)
    assert (round(found.bias, 1), round(found.sd, 1), found.n) == (-2.1, 38.8, 17)
    assert (round(found.low, 1), round(found.high, 1)) == (-78.1, 73.9)
    limits = (round(found.bias, 1) - 2 * round(found.sd, 1), round(found.bias, 1) + 2 * round(found.sd, 1))
    assert limits == pytest.approx((-79.7, 75.5))  # the paper takes 2 sd, of rounded figures
    assert [round(end, 1) for end in found.bias_interval] == [-22.0, 17.8]
    assert found.low_interval[0] < found.low < found.low_interval[1]
    # the paper's intervals of its limits are 2.12 x 16.3 to either side, of a t and a standard error that it rounds
    for end, limit in ((found.low_interval, found.low), (found.high_interval, found.high)):
        assert (limit - end[0], end[1] - limit) == pytest.approx((2.12 * 16.3,) * 2, abs=0.05)


def test_the_correlation_of_judges_is_that_of_the_paper() -> None:
    found = icc(JUDGES)
    assert round(found.value, 2) == 0.29
    assert (round(found.low, 2), round(found.high, 2)) == (0.02, 0.76)
    assert (found.n_cases, found.n_readers) == (6, 4)


def pairs(table: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = np.indices(np.shape(table))
    return np.repeat(rows.ravel(), np.ravel(table)), np.repeat(cols.ravel(), np.ravel(table))


def test_kappa_is_that_of_published_tables() -> None:
    one, other = pairs(COUPLES)
    assert round(weighted_kappa(one, other, range(4), "linear"), 3) == 0.237
    one, other = pairs(DIAGNOSES)
    assert round(kappa(one, other), 3) == 0.492
    tumour_or_not = (one == 0).astype(int), (other == 0).astype(int)
    plain = weighted_kappa(*tumour_or_not, [0, 1])
    table = np.array([[88, 32], [12, 68]]) / 200
    chance = (table.sum(axis=0) * table.sum(axis=1)).sum()
    assert plain == pytest.approx((np.trace(table) - chance) / (1 - chance))


VALUES = st.lists(st.tuples(*[st.integers(0, 100)] * 3), min_size=3, max_size=12)


@given(VALUES)
def test_agreement_is_whole_with_oneself_and_does_not_depend_on_the_order(
    values: list[tuple[int, ...]],
) -> None:
    table = np.array(values, float)
    own = np.repeat(table[:, :1], 3, axis=1)
    if np.ptp(own) > 0:
        assert icc(own).value == pytest.approx(1)
        found = icc(table)
        assert icc(table[:, ::-1]).value == pytest.approx(found.value)
        assert (
            found.value < 0 or not found.low > found.value + 1e-9
        )  # below 0 the interval is not made for it
        assert found.value < 0 or not found.value > found.high + 1e-9
    assert bland_altman(table[:, 0], table[:, 1]).bias == -bland_altman(table[:, 1], table[:, 0]).bias


def test_a_reader_who_reads_more_agrees_less_than_in_consistency() -> None:
    cases = np.arange(10.0)
    assert icc(np.stack([cases, cases + 20], axis=1)).value < 0.2


def test_values_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UsageError, match="2 and 3 cases"):
        bland_altman([1, 2], [1, 2, 3])
    with pytest.raises(UsageError, match="value is missing"):
        icc([[1, np.nan], [2, 3]])
    with pytest.raises(UsageError, match="1 cases of 2 readers"):
        icc([[1, 2]])
    with pytest.raises(UsageError, match="one value to all cases"):
        icc([[5, 5], [5, 5]])
    with pytest.raises(UsageError, match="unknown grades V; known are I, II"):
        weighted_kappa(["I"], ["V"], ["I", "II"])
    assert np.isnan(weighted_kappa(["I"] * 3, ["I"] * 3, ["I", "II"]))


def test_readers_who_differ_by_a_constant_have_an_interval_of_some_width() -> None:
    """Two cases tell little, even where the readers' differences are all the same; by hand 98 / (8 F + 98), F(1, 1)."""
    found = icc([[10, 12], [3, 5]])
    assert found.low == pytest.approx(98 / (8 * 647.789 + 98), rel=1e-4)
    assert found.high > 0.999
    assert icc([[1, 1], [2, 2]]).low == 1
