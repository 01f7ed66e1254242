from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.dataset.cases import refuse_two_spellings, spelling
from wsi_necrosis.errors import DatasetError


@pytest.mark.parametrize(
    "name", ["Case-3", "case-3", "Case 3", "Case_3", "CASE--003", " case3 ", "Ｃａｓｅ 3"]
)
def test_one_patient_however_written(name: str) -> None:
    assert spelling(name) == ("case", "3")


def test_different_patients_stay_apart() -> None:
    names = ["Case-3", "Case-30", "Case-3b", "P3", "1-1", "11", "1.1", "Müller", "Muller", "0", "A", "B"]
    assert len({spelling(name) for name in names}) == len(names)
    refuse_two_spellings([*names, *names], "labels.csv")


def test_all_spellings_are_named() -> None:
    with pytest.raises(
        DatasetError, match=r"t\.csv .*'Case 3' and 'Case-3' and 'case-3', 'P9' and 'p09'; write"
    ):
        refuse_two_spellings(["p09", "case-3", "Case 3", "P9", "P10", "Case-3"], "t.csv")


@given(st.text(max_size=20))
def test_capitals_and_blanks_never_make_another_patient(name: str) -> None:
    assert spelling(name.casefold()) == spelling(f" {name}_".casefold())
