"""How labels are shown: titles, QuPath's classes, colours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from wsi_necrosis.classes import TITLES
from wsi_necrosis.scores.labels import CellLabel


@dataclass(frozen=True)
class Colour:
    """How a label is shown: our words, QuPath's class name, RGB."""

    title: str
    qupath: str
    rgb: tuple[int, int, int]


# QuPath's own classes and colours, so that its users see what they know.
PALETTE: Mapping[int, Colour] = MappingProxyType(
    {
        CellLabel.NON_TUMOUR: Colour(TITLES[0], "Stroma", (150, 200, 150)),
        CellLabel.NON_VIABLE: Colour(TITLES[1], "Necrosis", (50, 50, 50)),
        CellLabel.VIABLE: Colour(TITLES[2], "Tumor", (200, 0, 0)),
        CellLabel.ABSTAINED: Colour("Abstained", "Ignore*", (180, 180, 180)),
        CellLabel.UNREADABLE: Colour("Unreadable", "Region*", (0, 0, 180)),
    }
)
