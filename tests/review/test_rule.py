from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import UsageError
from wsi_necrosis.review.rule import ROUNDS_ALPHA, Corrected, allocate, correct, draw, mid_p


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high", "digits"),
    [
        (4, 10, 0.142, 0.709, 3),
        (0, 20, 0.0, 0.1391, 4),
        (1, 29, 0.0017, 0.1585, 4),
        (5, 20, 0.098, 0.470, 3),
        (15, 148, 0.0601, 0.1581, 4),
        (81, 263, 0.2544, 0.3658, 4),  # published
    ],
)
def test_mid_p_agrees_with_known_intervals(
    hits: int, trials: int, low: float, high: float, digits: int
) -> None:
    assert tuple(round(end, digits) for end in mid_p(hits, trials)) == (low, high)


@pytest.mark.parametrize(
    ("shares", "drawn", "viable", "non_viable", "share", "low", "high", "effective"),
    [
        ((0.3, 0.5, 0.2), (6, 10, 4), (0, 0, 4), (1, 10, 0), 0.2667, 0.1322, 0.4443, 30),
        ((0.3, 0.5, 0.2), (6, 10, 4), (0, 0, 0), (1, 10, 2), 0, 0, 0.2058, 13),
        ((0.3, 0.5, 0.2), (12, 20, 8), (1, 2, 7), (1, 18, 1), 0.3333, 0.2207, 0.4624, 57.30),
        ((0.6, 0.39, 0.01), (11, 7, 2), (0, 0, 2), (1, 7, 0), 0.0220, 0, 0.2033, 16.68),
    ],
)
def test_corrected_percentages_agree_with_the_worked_examples(
    shares: tuple[float, ...], drawn: tuple[int, ...], viable: tuple[int, ...], non_viable: tuple[int, ...],
    share: float, low: float, high: float, effective: float,
) -> None:  # fmt: skip
    found = correct(shares, drawn, viable, non_viable)
    assert found is not None
    assert (round(found.share, 4), round(found.low, 4), round(found.high, 4)) == (share, low, high)
    assert round(found.effective, 2) == effective
    assert found.labels == sum(drawn)
    assert found.tumour_labels == sum(viable) + sum(non_viable)


@pytest.mark.parametrize(
    ("shares", "labels", "drawn"),
    [
        ((0.3, 0.5, 0.2), 10, (3, 5, 2)),
        ((0.3, 0.5, 0.2), 20, (6, 10, 4)),
        ((0.3, 0.5, 0.2), 40, (12, 20, 8)),
        ((0.6, 0.39, 0.01), 20, (11, 7, 2)),
        ((1.0,), 7, (7,)),
        ((0.0, 1.0), 7, (0, 7)),
    ],
)
def test_labels_are_allocated_by_area(shares: tuple[float, ...], labels: int, drawn: tuple[int, ...]) -> None:
    assert tuple(allocate(shares, labels)) == drawn


SHARES = st.lists(st.floats(0.01, 1), min_size=1, max_size=4).map(lambda parts: np.array(parts) / sum(parts))


@given(SHARES, st.integers(8, 200))
def test_more_labels_take_none_away(shares: np.ndarray, labels: int) -> None:
    few, more = allocate(shares, labels), allocate(shares, labels + 1)
    assert few.sum() == labels
    assert (more >= few).all()
    assert few.min() >= 2


@given(st.integers(0, 2**32), st.integers(8, 60))
def test_more_labels_keep_the_cells_that_were_drawn(seed: int, labels: int) -> None:
    chance = np.random.default_rng(seed)
    areas, classes = chance.random(50), chance.integers(0, 3, 50)
    few, more = draw(areas, classes, labels, seed), draw(areas, classes, labels + 5, seed)
    assert len(few) == labels
    for name in np.unique(classes):
        before, after = few[classes[few] == name], more[classes[more] == name]
        assert after[: len(before)].tolist() == before.tolist()


def test_cells_are_drawn_in_proportion_to_their_area_and_never_without() -> None:
    areas = np.array([1.0, 3.0, 0.0, 4.0, 0.0])
    found = draw(areas, np.zeros(5, int), 80_000, 1)
    np.testing.assert_allclose(np.bincount(found, minlength=5) / 80_000, areas / areas.sum(), atol=0.005)
    assert (np.bincount(found, minlength=5)[[2, 4]] == 0).all()


def test_too_few_labels_and_no_tissue_are_refused() -> None:
    with pytest.raises(UsageError, match="5 cells are too few for 3 predicted classes; draw at least 6"):
        allocate((0.3, 0.5, 0.2), 5)
    with pytest.raises(UsageError, match="no cell holds tissue"):
        draw([0.0, 0.0], [0, 1], 10, 1)
    with pytest.raises(UsageError, match="fewer than 2 labels"):
        correct((0.5, 0.5), (9, 1), (1, 0), (1, 1))


def test_no_tumour_label_gives_no_number() -> None:
    assert correct((0.5, 0.5), (9, 9), (0, 0), (0, 0)) is None
    assert correct((0.5, 0.5, 0.0), (9, 9, 0), (1, 0, 0), (0, 9, 0)) is not None


@given(SHARES, st.data())
def test_kinds_of_tumour_mirror_one_another_and_rounds_are_wider(
    shares: np.ndarray, data: st.DataObject
) -> None:
    drawn = allocate(shares, 24)
    viable = [data.draw(st.integers(0, int(n))) for n in drawn]
    non_viable = [data.draw(st.integers(0, int(n - v))) for n, v in zip(drawn, viable, strict=True)]
    found, mirrored = correct(shares, drawn, viable, non_viable), correct(shares, drawn, non_viable, viable)
    if found is None or mirrored is None:
        assert sum(viable) + sum(non_viable) == 0
        return
    assert found.low <= found.share <= found.high
    assert [mirrored.share, mirrored.low, mirrored.high] == pytest.approx(
        [1 - found.share, 1 - found.high, 1 - found.low], abs=1e-9
    )
    wider = correct(shares, drawn, viable, non_viable, ROUNDS_ALPHA)
    assert isinstance(wider, Corrected)
    assert wider.low <= found.low
    assert wider.high >= found.high
