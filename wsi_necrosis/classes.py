"""The three classes of tumour tissue, and how each is called and shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TumourClass:
    """A class of tissue: what it is called in each place, and its colour.

    Attributes
    ----------
    name : str
        In code, settings and result files.
    title : str
        In reports, maps and tables for readers.
    qupath : str
        QuPath's predefined class for it, which its users know.
    colour : tuple of int
        Red, green and blue, 0 to 255: QuPath's colour of that class.
    column : str
        Column of its probability in `tiles.parquet`, spelled as WSInfer spells such columns.
    """

    name: str
    title: str
    qupath: str
    colour: tuple[int, int, int]
    column: str


# In the order of every probability array.
TUMOUR_CLASSES = (
    TumourClass("non_tumour", "Non-tumour", "Stroma", (150, 200, 150), "prob_NonTumor"),
    TumourClass("non_viable", "Non-viable tumour", "Necrosis", (50, 50, 50), "prob_NonViableTumor"),
    TumourClass("viable", "Viable tumour", "Tumor", (200, 0, 0), "prob_ViableTumor"),
)
NON_TUMOUR, NON_VIABLE, VIABLE = range(3)  # indices into TUMOUR_CLASSES
CLASSES = tuple(tumour_class.name for tumour_class in TUMOUR_CLASSES)
UNSURE = "unsure"  # label of a person who cannot tell the class
