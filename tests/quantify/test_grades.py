from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.quantify.grades import load_scheme
from wsi_necrosis.settings.loading import shipped_yaml

SCHEMES = ("huvos", "euramos", "ccg-pog", "iaslc")
STEP = 1e-9


@pytest.mark.parametrize(
    ("scheme", "necrosis", "below", "at", "above"),
    [
        ("huvos", 50, "I", "II", "II"),
        ("huvos", 90, "II", "III", "III"),
        ("huvos", 100, "III", "IV", "IV"),
        ("euramos", 90, "poor", "poor", "good"),  # exactly 10 % viable is poor
        ("ccg-pog", 0, "I", "I", "IIA"),
        ("ccg-pog", 50, "IIA", "IIB", "IIB"),
        ("ccg-pog", 95, "IIB", "IIB", "III"),
        ("ccg-pog", 100, "III", "IV", "IV"),
        ("iaslc", 90, "no MPR", "MPR", "MPR"),
        ("iaslc", 100, "MPR", "pCR", "pCR"),
    ],
)
def test_cut_offs_at_below_and_above(scheme: str, necrosis: float, below: str, at: str, above: str) -> None:
    grade = load_scheme(scheme).grade
    viable = 100.0 - necrosis
    assert (grade(min(100, viable + STEP)), grade(viable), grade(max(0, viable - STEP))) == (below, at, above)


def test_nothing_is_rounded_up() -> None:
    assert load_scheme("huvos").grade(100 - 89.95) == "II"
    assert load_scheme("euramos").grade(9.9999) == "good"


@pytest.mark.parametrize("scheme", SCHEMES)
@given(ends=st.tuples(*[st.floats(0, 100)] * 2))
def test_an_interval_meets_the_grades_of_its_ends_and_all_between(
    scheme: str, ends: tuple[float, float]
) -> None:
    found = load_scheme(scheme)
    low, high = sorted(ends)
    met = found.within(low, high)
    assert {found.grade(low), found.grade(high), found.grade((low + high) / 2)} <= set(met)
    verdict = found.verdict(low, high)
    crossed = {name in found.good for name in met} == {True, False}
    assert (verdict == "indeterminate") == crossed
    assert crossed or verdict.split(" or ") == list(met)


def test_draws_give_probabilities() -> None:
    found = load_scheme("huvos").probabilities([0.0, 5.0, 10.0, 10.1, 60.0])
    assert found == {"I": 0.2, "II": 0.2, "III or IV": pytest.approx(0.6)}
    assert list(load_scheme("iaslc").probabilities([0.0, 10.0])) == ["pCR or MPR", "no MPR"]
    assert list(load_scheme("ccg-pog").probabilities([0.0])) == ["I or IIA", "IIB", "III or IV"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_names_its_source(scheme: str) -> None:
    assert len(load_scheme(scheme).source) > 40


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"grades": [{"name": "a"}, {"name": "b", "at_least": 90}, {"name": "c", "at_least": 50}]},
            "rising order",
        ),
        ({"grades": [{"name": "a"}, {"name": "b"}]}, "one of at_least and above"),
        ({"grades": [{"name": "a"}, {"name": "b", "at_least": 5, "above": 5}]}, "not both"),
        ({"grades": [{"name": "a"}, {"name": "a", "at_least": 5}], "good": ["a"]}, "names of grades differ"),
        ({"grades": [{"name": "a"}, {"name": "b", "at_least": 101}]}, "at_least"),
        ({"good": ["V"]}, "good lists some of them"),
        ({"measure": "tumour"}, "measure"),
    ],
)
def test_schemes_that_contradict_themselves_are_refused(tmp_path: Path, changed: dict, message: str) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(shipped_yaml("grades/huvos.yaml") | {"good": ["III"]} | changed))
    with pytest.raises(SettingsError, match=f"yaml is no grade scheme: .*{message}"):
        load_scheme(own)


def test_ones_own_scheme_is_read_and_an_unknown_one_named(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(shipped_yaml("grades/euramos.yaml") | {"title": "Ours"}))
    assert load_scheme(own).title == "Ours"
    with pytest.raises(SettingsError, match="no grade scheme 'none'; give ccg-pog, euramos"):
        load_scheme("none")
