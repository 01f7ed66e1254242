"""Spellings of labels, and the class probabilities that each stands for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from wsi_necrosis.classes import CLASSES, NON_TUMOUR, NON_VIABLE, VIABLE

Truth = tuple[float, float, float]
Mixed = Literal["exclude", "soft", "viable", "nonviable"]

LABELS: Mapping[str, int] = MappingProxyType(
    {"Non-Tumor": NON_TUMOUR, "Non-Viable-Tumor": NON_VIABLE, "Viable": VIABLE}
    | {name: at for at, name in enumerate(CLASSES)}
)
MIXED_LABEL = "viable: non-viable"
KNOWN = (*LABELS, MIXED_LABEL)

CERTAIN: tuple[Truth, ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))  # in the order of CLASSES
MIXED: Mapping[Mixed, Truth | None] = MappingProxyType(
    {"exclude": None, "soft": (0.0, 0.5, 0.5), "viable": CERTAIN[VIABLE], "nonviable": CERTAIN[NON_VIABLE]}
)


def truth_of(label: str, mixed: Mixed) -> Truth | None:
    """Probability of each class for a known label; None where its tile is left out.

    Parameters
    ----------
    label : str
        One of `KNOWN`.
    mixed : {"exclude", "soft", "viable", "nonviable"}
        How tiles that are partly viable and partly not are used.
    """
    return MIXED[mixed] if label == MIXED_LABEL else CERTAIN[LABELS[label]]
