import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.dataset.faults import listed, plainly, refuse
from wsi_necrosis.errors import DatasetError


def test_five_names_are_shown_and_the_rest_counted() -> None:
    assert listed("edcba") == "'a', 'b', 'c', 'd', 'e'"
    assert listed("gfedcba") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert plainly(["b (2)", "a"]) == "b (2), a"


@given(st.lists(st.text(), max_size=8))
def test_a_list_of_anything_is_short(items: list[str]) -> None:
    assert len(plainly(items * 1000)) < 1200


def test_of_a_long_item_both_ends_are_shown() -> None:
    long = plainly(["I" + "[" * 5000 + " (3 in a.geojson)"])
    assert long.startswith("I[[")
    assert long.endswith("[ (3 in a.geojson)")
    assert len(long) < 210


def test_offenders_are_refused_with_a_way_out() -> None:
    refuse([], "nothing is wrong with", "go on")
    with pytest.raises(DatasetError, match=r"^t lacks 'a', 'b'; mend them$"):
        refuse(iter("ba"), "t lacks", "mend them")
