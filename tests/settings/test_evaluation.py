import pytest

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.evaluation import load_evaluation_settings, variant_settings
from wsi_necrosis.settings.train import load_train_settings
from wsi_necrosis.training.build import check

EIGHT = [
    "lite-gate", "dense-gate", "lite-mean", "lite-mean-flat", "dense-mean", "dense-mean-flat", "dense-image",
    "first-order",
]  # fmt: skip


def test_eight_ways_are_compared() -> None:
    assert [variant.name for variant in load_evaluation_settings().variants] == EIGHT


def test_ways_differ_in_what_their_names_say() -> None:
    """Each sets all that tells the eight apart, so that it means the same for any model."""
    sets = {variant.name: variant.set for variant in load_evaluation_settings().variants}
    assert len({frozenset(changes) for changes in sets.values()}) == 1
    assert len({tuple(changes.items()) for changes in sets.values()}) == 8
    differ = {key for key, value in sets["dense-mean"].items() if value != sets["dense-mean-flat"][key]}
    assert differ == {"fit.loss"}


def test_each_way_is_settings_of_a_training() -> None:
    settings, ways = load_train_settings(), load_evaluation_settings().variants
    for variant in ways:
        check(variant_settings(settings, variant))


@pytest.mark.parametrize(
    "override",
    ["calibration_bins=1", "bootstrap_draws=0", "confidence=1", "cost_tiles=0", "rule.f1_margin=-1"],
)
def test_values_out_of_range_are_named(override: str) -> None:
    with pytest.raises(SettingsError, match=override.partition("=")[0]):
        load_evaluation_settings(None, [override])
