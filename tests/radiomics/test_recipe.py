from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
import radiomics.firstorder
import radiomics.glcm

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.radiomics import RECIPES, Feature, NucleusRule, Recipe, find_recipe
from wsi_necrosis.radiomics.recipe import FIRST_ORDER, GLCM, NUCLEI


@pytest.mark.parametrize(
    ("names", "theirs"),
    [(FIRST_ORDER, radiomics.firstorder.RadiomicsFirstOrder), (GLCM, radiomics.glcm.RadiomicsGLCM)],
)
def test_feature_names_are_those_of_pyradiomics(names: tuple[str, ...], theirs: Any) -> None:
    current = {name for name, deprecated in theirs.getFeatureNames().items() if not deprecated}
    assert set(names) == current


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


def test_basic_holds_texture_of_three_channels_and_nuclei_without_duplicates() -> None:
    names = RECIPES["basic"].names
    assert len(names) == 3 * (len(FIRST_ORDER) - 1 + len(GLCM) - 1) + 4 + len(NUCLEI)
    assert not [name for name in names if name.endswith(("TotalEnergy", "SumAverage"))]
    assert RECIPES["phantom"].names == (
        "haematoxylin_tissue_firstorder_Mean",
        "eosin_tissue_firstorder_Mean",
        "grey_tissue_firstorder_Mean",
    )


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_survives_json_and_pickle(name: str) -> None:
    recipe = find_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe  # noqa: S301  (our own bytes)


def test_numbers_other_than_the_default_survive_json() -> None:
    recipe = Recipe("own", (Feature("firstorder", "Mean"),), 64, 1.5, NucleusRule(min_od=0.7))
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


@pytest.mark.parametrize(
    ("family", "name", "channel", "mask", "culprit"),
    [
        ("shape", "Mean", "grey", "tissue", "'shape'"),
        ("glcm", "Homogeneity1", "grey", "tissue", "glcm feature 'Homogeneity1'"),
        ("firstorder", "Mean", "red", "tissue", "channel 'red'"),
        ("firstorder", "Mean", "grey", "glass", "mask 'glass'"),
        ("nuclei", "area_fraction", "eosin", "nuclei", "'area_fraction'"),
    ],
)
def test_an_unknown_feature_is_refused_by_name(
    family: str, name: str, channel: str, mask: str, culprit: str
) -> None:
    with pytest.raises(SettingsError, match=culprit):
        Feature(family, name, channel, mask)


def test_an_unknown_recipe_is_refused_with_those_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"'bassic'.*basic, phantom"):
        find_recipe("bassic")


@pytest.mark.parametrize(
    ("features", "bins", "od_max", "culprit"),
    [
        ((), 32, 2.0, "no feature"),
        ((Feature("firstorder", "Mean"),) * 2, 32, 2.0, "haematoxylin_tissue_firstorder_Mean twice"),
        ((Feature("firstorder", "Mean"),), 1, 2.0, "not 1 and"),
        ((Feature("firstorder", "Mean"),), 32, 0.0, "and 0.0"),
    ],
)
def test_a_recipe_out_of_range_is_refused(
    features: tuple[Feature, ...], bins: int, od_max: float, culprit: str
) -> None:
    with pytest.raises(SettingsError, match=culprit):
        Recipe("own", features, bins, od_max)
