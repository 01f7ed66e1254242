import pytest

from wsi_necrosis.dataset.faults import listed, plainly, refuse
from wsi_necrosis.errors import DatasetError


def test_five_names_are_shown_and_the_rest_counted() -> None:
    assert listed("edcba") == "'a', 'b', 'c', 'd', 'e'"
    assert listed("gfedcba") == "'a', 'b', 'c', 'd', 'e' and 2 more"
    assert plainly(["b (2)", "a"]) == "b (2), a"


def test_offenders_are_refused_with_a_way_out() -> None:
    refuse([], "nothing is wrong with", "go on")
    with pytest.raises(DatasetError, match=r"^t lacks 'a', 'b'; mend them$"):
        refuse(iter("ba"), "t lacks", "mend them")
