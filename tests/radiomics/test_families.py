from __future__ import annotations

import pytest
import radiomics

from wsi_necrosis.radiomics.families import FAMILIES


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "nuclei"])
def test_feature_names_are_those_of_pyradiomics(family: str) -> None:
    theirs = radiomics.getFeatureClasses()[family].getFeatureNames()
    assert set(FAMILIES[family]) == {name for name, deprecated in theirs.items() if not deprecated}


def test_there_are_93_features_of_pixels() -> None:
    assert sum(len(names) for family, names in FAMILIES.items() if family != "nuclei") == 93
