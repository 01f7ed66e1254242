from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tile_folders import tile
from wsi_necrosis.classes import NON_TUMOUR, NON_VIABLE, VIABLE
from wsi_necrosis.dataset.labels import CERTAIN
from wsi_necrosis.dataset.tiles import Fold, LabelledTile, cases_of, inner_fold, leave_case_out
from wsi_necrosis.errors import DatasetError

MIXED = (0.0, 0.5, 0.5)
TRUTHS = {"n": CERTAIN[NON_TUMOUR], "d": CERTAIN[NON_VIABLE], "v": CERTAIN[VIABLE], "m": MIXED}


def tiles_of(**cases: str) -> tuple[LabelledTile, ...]:
    """Tiles by case, one per letter: n non-tumour, d non-viable (dead), v viable, m mixed."""
    return tuple(
        tile(f"{case}{at}", case, TRUTHS[letter])
        for case, letters in cases.items()
        for at, letter in enumerate(letters)
    )


def test_a_certain_tile_has_a_label_and_a_mixed_one_has_none() -> None:
    found = tiles_of(A="ndvm")
    assert [one.label for one in found] == [NON_TUMOUR, NON_VIABLE, VIABLE, None]
    assert [one.is_tumour for one in found] == [False, True, True, True]


@given(st.lists(st.sampled_from("ABCDE"), min_size=2, max_size=30).filter(lambda cases: len(set(cases)) > 1))
def test_each_case_is_left_out_once(cases: list[str]) -> None:
    tiles = tuple(tile(str(at), case) for at, case in enumerate(cases))
    folds = leave_case_out(tiles)
    assert tuple(fold.test[0].case for fold in folds) == cases_of(tiles)
    assert sorted(t.path.name for fold in folds for t in fold.test) == sorted(t.path.name for t in tiles)
    for fold in folds:
        assert not set(cases_of(fold.train)) & set(cases_of(fold.test))
        assert set(fold.train) | set(fold.test) == set(tiles)


def test_leaks_are_refused() -> None:
    with pytest.raises(DatasetError, match="share 'A'"):
        Fold((tile("a", "A"),), (tile("b", "A"),))
    with pytest.raises(DatasetError, match="one picture stands under two cases: 'a', 'b'"):
        leave_case_out((tile("a", "A", sha256="77"), tile("b", "B", sha256="77")))
    with pytest.raises(DatasetError, match=r"come from 'A'; .* at least two"):
        leave_case_out((tile("a", "A"), tile("b", "A")))
    with pytest.raises(DatasetError, match="no case"):
        leave_case_out(())


@pytest.mark.parametrize(
    ("cases", "spared"),
    [
        ({"A": "ndv", "B": "ndvv", "C": "nd"}, "C"),  # the fewest tiles
        ({"B": "ndv", "A": "ndv", "C": "ndvv"}, "A"),  # by name among equals
        ({"A": "n", "B": "ndv", "C": "ndvv"}, "B"),  # no tumour in A
        ({"A": "m", "B": "ndv"}, "A"),  # a mixed tile is tumour
        ({"A": "ndv", "B": "ndm"}, "B"),  # but it is no viable tile that B could keep
        ({"A": "nd", "B": "nv"}, None),
        ({"A": "ndv", "B": "nnn"}, None),
        ({"A": "nnnddd", "B": "nnnnddvv", "C": "nnnvv", "D": "nnnn"}, "C"),
        ({"A": "ndv"}, None),
        ({}, None),
    ],
)
def test_the_smallest_case_that_can_be_spared_decides_early_stopping(
    cases: dict[str, str], spared: str
) -> None:
    tiles = tiles_of(**cases)
    fold = inner_fold(tiles)
    if spared is None:
        assert fold is None
    else:
        assert fold is not None
        assert cases_of(fold.test) == (spared,)
        assert {one.label for one in fold.train} >= {NON_TUMOUR, NON_VIABLE, VIABLE}
        assert set(fold.train) | set(fold.test) == set(tiles)


@given(st.dictionaries(st.sampled_from("ABCDE"), st.text("ndvm", min_size=1, max_size=6)))
def test_none_is_spared_only_where_none_can_be(cases: dict[str, str]) -> None:
    tiles = tiles_of(**cases)
    possible = [
        case
        for case, letters in cases.items()
        if set("ndv") <= set("".join(rest for other, rest in cases.items() if other != case))
        and set(letters) & set("dvm")
    ]
    fold = inner_fold(tiles)
    assert (fold is None) == (not possible)
    if fold is not None:
        assert len(fold.test) == min(len(cases[case]) for case in possible)
