import pytest

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, TUMOUR_CLASSES, VIABLE


def test_the_order_is_that_of_every_stored_probability() -> None:
    assert CLASSES == ("non_tumour", "non_viable", "viable")
    assert [CLASSES[at] for at in (NON_TUMOUR, NON_VIABLE, VIABLE)] == list(CLASSES)


@pytest.mark.parametrize("field", ["name", "title", "qupath", "colour", "column"])
def test_no_two_classes_are_called_or_drawn_alike(field: str) -> None:
    assert len({getattr(each, field) for each in TUMOUR_CLASSES}) == len(TUMOUR_CLASSES)
