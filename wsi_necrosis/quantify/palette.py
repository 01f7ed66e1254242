"""How labels are shown: titles, QuPath's classes, colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wsi_necrosis.classes import TUMOUR_CLASSES
from wsi_necrosis.scores.labels import CellLabel


@dataclass(frozen=True)
class Colour:
    """How a label is shown: title, QuPath's class name, RGB."""

    title: str
    qupath: str
    rgb: tuple[int, int, int]


PALETTE: Mapping[int, Colour] = MappingProxyType(
    {
        **{
            CellLabel(1 + at): Colour(tumour_class.title, tumour_class.qupath, tumour_class.colour)
            for at, tumour_class in enumerate(TUMOUR_CLASSES)
        },
        CellLabel.ABSTAINED: Colour("Abstained", "Ignore*", (180, 180, 180)),
        CellLabel.UNREADABLE: Colour("Unreadable", "Region*", (0, 0, 180)),
    }
)
