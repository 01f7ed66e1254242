import pytest

from wsi_necrosis.errors import SettingsError
from wsi_necrosis.settings.evaluation import Variant, load_evaluation_settings


def test_a_variant_is_a_network_unless_it_says_so() -> None:
    variant = Variant(name="a", title="A", group="g", set={})
    assert (variant.kind, Variant(**(variant.model_dump() | {"kind": "probe"})).kind) == ("network", "probe")


def test_shipped_variants_have_names_of_their_own_and_the_main_one_is_among_them() -> None:
    settings = load_evaluation_settings()
    names = [variant.name for variant in (*settings.frozen, *settings.tuned)]
    assert len(set(names)) == len(names)
    assert settings.main in [variant.name for variant in settings.frozen]


@pytest.mark.parametrize(
    "override", ["calibration_bins=1", "bootstrap_draws=0", "confidence=1", "tuned_seeds=[]"]
)
def test_values_out_of_range_are_named(override: str) -> None:
    with pytest.raises(SettingsError, match=override.partition("=")[0]):
        load_evaluation_settings(None, [override])
