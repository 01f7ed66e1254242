from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.case_results import result_of
from wsi_necrosis.quantify.cases import CaseRules, SlideAreas, areas_of, case_number
from wsi_necrosis.quantify.definition import definition

RULES = CaseRules("model", "tumour", "by_class", 0.01, definition("by_class"))


def slide(
    name: str, viable: int, non_viable: int, block: str = "", role: str = "", **changes: object
) -> SlideAreas:
    return areas_of(result_of(name, viable, non_viable, 50, **changes), block, role)


def test_areas_are_added_up_and_percentages_averaged_beside() -> None:
    found = case_number([slide("a", 100, 300), slide("b", 900, 100)], RULES)
    assert found.percent_viable == 100 * 1000 / 1400
    assert found.percent_necrosis == 100 * 400 / 1400
    assert found.percent_viable_unweighted == (25 + 90) / 2
    assert found.tumour_mm2 == pytest.approx(1.4)
    assert found.mm2["viable_by_class"] == pytest.approx(1.0)
    assert found.mm2["non_tumour_by_class"] == pytest.approx(0.1)
    assert found.largest_focus_mm == pytest.approx(0.5 * 2**0.5)
    assert (found.status, found.interval) == ("scored", None)
    assert "classifier error unknown" in str(found.interval_reason)


@given(st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=9))
def test_the_percentage_is_that_of_the_summed_pixels(areas: list[tuple[int, int]]) -> None:
    found = case_number([slide(f"s{at}", *area, px_mm2=1.7e-5) for at, area in enumerate(areas)], RULES)
    viable, non_viable = (sum(each) for each in zip(*areas, strict=True))
    expected = float(Fraction(100 * viable, viable + non_viable))
    assert found.percent_viable in {expected, None}
    assert (found.percent_viable is None) == ((viable + non_viable) * 1.7e-5 < 0.01)


def test_recuts_of_a_block_count_once() -> None:
    found = case_number([slide("a", 100, 300, "B1"), slide("b", 300, 100, "B1"), slide("c", 200, 0)], RULES)
    assert found.tumour_mm2 == pytest.approx(0.4 + 0.2)
    assert found.percent_viable == pytest.approx(100 * 400 / 600)
    assert found.percent_viable_unweighted == pytest.approx((50 + 100) / 2)
    assert found.counted == ("a", "b", "c")


def test_roles_decide_and_what_cannot_count_is_named() -> None:
    slides = [
        slide("a", 100, 300, role="slab"),
        slide("b", 900, 0, role="biopsy"),
        SlideAreas("c", problem="failed: damaged"),
        areas_of(result_of("d", 1, 1, reason="out_of_domain")),
        areas_of(result_of("e", 1, 0, reason="too_little_tumour")),
        SlideAreas("f", role="margin", problem="failed"),
    ]
    found = case_number(slides, RULES)
    assert found.counted == ("a", "e")
    assert found.incomplete == {"c": "failed: damaged", "d": "not evaluable: out_of_domain"}
    assert found.left_out == {"b": "biopsy", "f": "margin"}
    assert found.percent_viable == pytest.approx(100 * 101 / 401)


def test_a_case_without_slides_or_with_too_little_tumour_has_no_percentage() -> None:
    none = case_number([SlideAreas("c", problem="failed")], RULES)
    assert (none.status, none.percent_viable) == ("not_evaluable", None)
    little = case_number([slide("a", 4, 4)], RULES)
    assert (little.reason, little.percent_viable) == ("too little tumour", None)
    assert little.tumour_mm2 == pytest.approx(0.008)
    assert case_number([slide("a", 6, 6)], RULES).percent_viable == 50


def test_a_class_that_the_model_found_nowhere_is_said() -> None:
    assert case_number([slide("a", 0, 300), slide("b", 0, 20)], RULES).finding == "no_viable"
    assert case_number([slide("a", 0, 300), slide("b", 20, 0)], RULES).finding is None
    assert case_number([slide("a", 300, 0)], RULES).finding == "no_non_viable"


def test_only_terms_that_all_slides_have_are_added_up() -> None:
    full = slide("a", 100, 300, "B1")
    bare = replace(
        full, slide_id="b", terms={"viable_by_class": Fraction(1), "non_viable_by_class": Fraction(1)}
    )
    found = case_number([full, bare], RULES)
    assert set(found.mm2) == {"viable_by_class", "non_viable_by_class"}
    assert found.percent_viable == 25


def test_shares_of_the_bed_make_100() -> None:
    bed = {"source": "hull", "viable_mm2": 1.0, "non_viable_mm2": 2.0, "non_tumour_mm2": 5.0}
    slides = [slide("a", 100, 300, bed=bed), slide("b", 100, 100, bed=bed | {"non_tumour_mm2": 0.0})]
    found = case_number(
        slides, CaseRules("model", "tumour_bed", "by_class", 0.01, definition("by_class", "hull"))
    )
    assert found.percent_viable == pytest.approx(100 * 2 / 11)
    assert found.percent_necrosis == pytest.approx(100 * 4 / 11)
    assert found.percent_non_tumour == pytest.approx(100 * 5 / 11)
