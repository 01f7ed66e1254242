"""What percent viable is a percentage of, in words that travel with the number."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wsi_necrosis.model.quantity import Estimator
from wsi_necrosis.quantify.bed import BedSource

DENOMINATOR = {
    "tumour": "viable and non-viable tumour; non-viable is all treatment effect: necrosis, fibrosis, acellular osteoid",
    "region": "all tissue with a class inside the region of interest, which is taken as the tumour bed: viable tumour, "
    "non-viable tumour, and the rest, which the model calls non-tumour; it has no class for stroma",
    "hull": "all tissue with a class inside the convex hull of the cells called tumour, which is taken as the tumour "
    "bed: viable tumour, non-viable tumour, and the rest, which the model calls non-tumour; it has no class for stroma",
}
ESTIMATOR = {
    "soft": "the tissue of each cell of the grid is split by its class probabilities",
    "by_class": "the tissue of each cell of the grid counts as its likeliest class",
    "drawn": "tissue counts as the outline that it lies in",
}
TARGET = "the tissue that was scanned; errors of the classifier are not corrected"
DRAWN_TARGET = "the tissue that was outlined, as its reader saw it"


def definition(
    estimator: Estimator, bed: BedSource | None = None, outlined: Collection[str] = ()
) -> dict[str, str]:
    """Denominator, tissue, estimator and target of a slide's percent viable, a sentence each.

    Parameters
    ----------
    estimator : {"soft", "by_class"}
        The one that leads.
    bed : {"region", "hull"}, optional
        What the tumour bed is under the policy `tumour_bed`; None under `tumour`.
    outlined : collection of str
        What a person outlined: `roi`, `tissue`, both or neither.

    Examples
    --------
    >>> definition("by_class", outlined=["roi"])["tissue"]
    'tissue found by the program inside the region of interest; what abstains is left out'
    """
    source = "outlined by a person" if "tissue" in outlined else "found by the program"
    place = "inside the region of interest" if "roi" in outlined else "on the whole slide"
    return {
        "denominator": DENOMINATOR[bed or "tumour"],
        "tissue": f"tissue {source} {place}; what abstains is left out",
        "estimator": ESTIMATOR[estimator],
        "target": TARGET,
    }


def definition_text(parts: Mapping[str, str]) -> str:
    """A definition on one line, for tables.

    Examples
    --------
    >>> definition_text({"denominator": "viable and non-viable tumour", "target": "the tissue that was scanned"})
    'denominator: viable and non-viable tumour. target: the tissue that was scanned'
    """
    return ". ".join(f"{name}: {text}" for name, text in parts.items())
