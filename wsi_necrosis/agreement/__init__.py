"""Against pathologists: how well tiles are told apart, and what that does to a percentage."""

from __future__ import annotations

from wsi_necrosis.agreement.cases import CaseError, case_errors, one_hot, percent_viable
from wsi_necrosis.agreement.curves import Reliability, reliability, roc_curve
from wsi_necrosis.agreement.difference import Difference, paired_difference
from wsi_necrosis.agreement.figures import confusion, macro_f1, missing_classes, tile_figures

__all__ = [
    "CaseError",
    "Difference",
    "Reliability",
    "case_errors",
    "confusion",
    "macro_f1",
    "missing_classes",
    "one_hot",
    "paired_difference",
    "percent_viable",
    "reliability",
    "roc_curve",
    "tile_figures",
]
