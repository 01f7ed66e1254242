import pytest

from wsi_necrosis.classes import CLASSES, TUMOUR_CLASSES
from wsi_necrosis.quantify.palette import PALETTE
from wsi_necrosis.scores.labels import CellLabel


def test_palette_is_that_of_qupath() -> None:
    assert {value: (colour.qupath, colour.rgb) for value, colour in PALETTE.items() if value < 5} == {
        1: ("Stroma", (150, 200, 150)),
        2: ("Necrosis", (50, 50, 50)),
        3: ("Tumor", (200, 0, 0)),
        4: ("Ignore*", (180, 180, 180)),
    }


@pytest.mark.parametrize("each", TUMOUR_CLASSES, ids=CLASSES)
def test_a_cell_of_a_class_is_shown_as_that_class(each) -> None:
    shown = PALETTE[CellLabel[each.name.upper()]]
    assert (shown.title, shown.qupath, shown.rgb) == (each.title, each.qupath, each.colour)
