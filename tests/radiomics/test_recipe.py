from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.radiomics.families import FIRST_ORDER
from wsi_necrosis.radiomics.recipe import RECIPES, Feature, NucleusRule, Recipe, find_recipe


def test_names_follow_the_features_in_order() -> None:
    recipe = Recipe(
        "two",
        (
            Feature("glcm", "Contrast", "eosin"),
            Feature("nuclei", "density_per_mm2", mask="nuclei"),
            Feature("firstorder", "Mean", mask="nuclei"),
        ),
    )
    assert recipe.names == (
        "eosin_tissue_glcm_Contrast",
        "nuclei_density_per_mm2",
        "haematoxylin_nuclei_firstorder_Mean",
    )


def test_shipped_recipes_hold_the_documented_features() -> None:
    assert RECIPES["paper"].names == tuple(f"luminance_tissue_firstorder_{name}" for name in FIRST_ORDER)
    full, fast = RECIPES["full"].names, RECIPES["fast"].names
    assert set(fast) < set(full)
    assert not [name for name in full if name.endswith(("TotalEnergy", "SumAverage"))]
    assert not [name for name in fast if "glrlm" in name or "glszm" in name]
    for start in ("haematoxylin_tissue_", "eosin_tissue_", "grey_tissue_", "haematoxylin_nuclei_"):
        for family in ("firstorder", "glcm", "gldm", "ngtdm"):
            assert any(name.startswith(start + family) for name in fast), start + family
    assert RECIPES["none"].names == ()
    assert not RECIPES["none"].needs_nuclei
    assert RECIPES["phantom"].names == (
        "haematoxylin_tissue_firstorder_Mean",
        "eosin_tissue_firstorder_Mean",
        "grey_tissue_firstorder_Mean",
    )


def test_fast_holds_no_nuclei_feature_that_the_table_of_robustness_drops() -> None:
    table = Path(__file__).parents[2] / "docs" / "radiomics-robustness.csv"
    with table.open(newline="", encoding="utf-8") as lines:
        kept = {row["feature"] for row in csv.DictReader(lines) if row["kept"] == "1"}
    nuclei = {feature.full_name for feature in RECIPES["full"].features if feature.family == "nuclei"}
    assert set(RECIPES["fast"].names) & nuclei == nuclei & kept


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_survives_json_and_pickle(name: str) -> None:
    recipe = find_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301  (our own bytes)


def test_numbers_other_than_the_default_survive_json() -> None:
    recipe = Recipe(
        "own",
        (Feature("firstorder", "Mean"),),
        64,
        1.5,
        8.0,
        distances=(1, 3),
        nucleus=NucleusRule(min_od=0.7),
    )
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("where", "key"), [((), "binz"), (("features", 0), "chanel"), (("nucleus",), "max_od")]
)
def test_an_unknown_key_is_refused_by_name(where: tuple[Any, ...], key: str) -> None:
    tree = find_recipe("phantom").to_dict()
    spot: Any = tree
    for step in where:
        spot = spot[step]
    spot[key] = 1
    with pytest.raises(SettingsError, match=f"unknown {key}"):
        Recipe.from_dict(tree)


def test_a_missing_key_is_refused_by_name() -> None:
    tree = find_recipe("phantom").to_dict()
    del tree["bins"]
    with pytest.raises(SettingsError, match="missing bins"):
        Recipe.from_dict(tree)


def test_a_checkpoint_that_asks_for_other_stain_vectors_is_refused() -> None:
    tree = find_recipe("phantom").to_dict()
    assert tree["stains"] == "fixed"
    with pytest.raises(SettingsError, match="stains can only be 'fixed', not 'slide'; train the model again"):
        Recipe.from_dict({**tree, "stains": "slide"})


@pytest.mark.parametrize(
    ("family", "name", "channel", "mask", "message"),
    [
        ("shape", "Mean", "grey", "tissue", "'shape'"),
        ("glcm", "Homogeneity1", "grey", "tissue", "glcm feature 'Homogeneity1'"),
        ("firstorder", "Mean", "red", "tissue", "channel 'red'"),
        ("firstorder", "Mean", "grey", "glass", "mask 'glass'"),
        ("nuclei", "area_fraction", "eosin", "nuclei", "'area_fraction'"),
    ],
)
def test_an_unknown_feature_is_refused_by_name(
    family: str, name: str, channel: str, mask: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        Feature(family, name, channel, mask)


def test_an_unknown_recipe_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"'fats'.*full, fast, paper, none, phantom"):
        find_recipe("fats")


@pytest.mark.parametrize(
    ("faulty", "message"),
    [
        ({"features": (Feature("firstorder", "Mean"),) * 2}, "haematoxylin_tissue_firstorder_Mean twice"),
        ({"bins": 1}, "not 1 and"),
        ({"bins": 256}, "not 256 and"),
        ({"od_max": 0.0}, "and 0.0"),
        ({"luminance_width": 1.0}, "not 1.0"),
        ({"distances": ()}, r"not \(\)"),
        ({"distances": (1, 0)}, r"not \(1, 0\)"),
        ({"distances": (1, 1)}, r"not \(1, 1\)"),
        ({"distances": (1.5,)}, r"not \(1.5,\)"),
        ({"bins": 32.5}, "not 32.5 and"),
        ({"luminance_width": 2.2}, "quarters of a grey level"),
    ],
)
def test_a_recipe_out_of_range_is_refused(faulty: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Recipe(**{"name": "own", "features": (Feature("firstorder", "Mean"),), **faulty})


@pytest.mark.parametrize("faulty", [{"blur_um": -1.0}, {"min_um2": 600.0}, {"open_um": -0.1}])
def test_a_nucleus_rule_out_of_range_is_refused(faulty: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="nucleus rule"):
        NucleusRule(**faulty)
