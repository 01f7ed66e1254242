from wsi_necrosis.provenance import NUMERIC_EXTRAS, NUMERIC_PACKAGES, VERSION, differences, digest, versions


def test_a_digest_follows_values_and_not_the_order_of_keys() -> None:
    facts = {"slide": "abc", "grid": {"tile_px": 256, "stride": 1.0}}
    again = {"grid": {"stride": 1.0, "tile_px": 256}, "slide": "abc"}
    assert digest(facts) == digest(again) == "0ccbf20bab06752ea109bbfdbca44e96"
    assert digest(facts | {"slide": "abd"}) != digest(facts)


def test_differences_are_named_by_their_dotted_key() -> None:
    old = {"grid": {"tile_px": 256, "stride": 1.0}, "slide": "abc", "gone": 1}
    new = {"grid": {"tile_px": 224, "stride": 1.0}, "slide": "abc", "come": {"a": 2}}
    assert differences(old, new) == ["come: None -> {'a': 2}", "gone: 1 -> None", "grid.tile_px: 256 -> 224"]
    assert differences(old, old) == []


def test_versions_name_all_that_numbers_depend_on() -> None:
    found = versions()
    assert set(NUMERIC_PACKAGES) <= set(found) <= {*NUMERIC_PACKAGES, *NUMERIC_EXTRAS}
    assert found["wsi-necrosis"] == VERSION
