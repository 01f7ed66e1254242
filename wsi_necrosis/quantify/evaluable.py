"""Why a slide is not evaluable."""

from __future__ import annotations

from typing import Literal

from wsi_necrosis.quantify.doubt import Decision
from wsi_necrosis.quantify.ledger import AreaLedger
from wsi_necrosis.settings.run import QuantifySettings

Reason = Literal[
    "unreadable", "no_tissue", "out_of_domain", "out_of_focus", "undecided", "no_tumour", "too_little_tumour"
]
PLENTY = 3  # times the least tumour: tissue enough to say that it holds none


def reason_against(
    ledger: AreaLedger, tumour_mm2: float, decision: Decision | None, settings: QuantifySettings
) -> Reason | None:
    """Why a slide is not evaluable; None if it is.

    Parameters
    ----------
    ledger : AreaLedger
        Areas of the slide.
    tumour_mm2 : float
        Area of tumour by the leading estimator.
    decision : Decision or None
        How decided the model is.
    settings : QuantifySettings
        Limits of each.
    """
    unfit = _unfit(ledger, settings)
    if unfit is not None:
        return unfit
    if decision is not None and decision.rules_out(settings):
        return "undecided"
    tumour_px = ledger.non_viable + ledger.viable
    if tumour_mm2 < settings.min_tumour_mm2 or tumour_px == 0:
        classed_mm2 = (ledger.non_tumour + tumour_px) * ledger.pixel_mm2
        plenty = classed_mm2 > 0 and classed_mm2 >= PLENTY * settings.min_tumour_mm2
        hardly = tumour_mm2 < settings.no_tumour_share * classed_mm2
        return "no_tumour" if plenty and hardly else "too_little_tumour"
    return None


def _unfit(ledger: AreaLedger, settings: QuantifySettings) -> Reason | None:
    """Why the tissue cannot be measured, whatever it holds."""
    tissue_px = ledger.abstained + ledger.non_tumour + ledger.non_viable + ledger.viable
    # what an overview could not read may be tissue
    if ledger.unreadable > settings.max_unreadable_share * (ledger.unreadable + tissue_px):
        return "unreadable"
    if tissue_px == 0:
        return "no_tissue"
    abstained = ledger.abstained_by
    if abstained["ood"] > settings.max_ood_share * tissue_px:
        return "out_of_domain"
    return "out_of_focus" if abstained["defocus"] > settings.max_defocus_share * tissue_px else None
