"""What is said of a result: the sentences that command, overlay and tables share, made of `result.json`'s content."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from wsi_necrosis.classes import CLASSES

BY: Mapping[str, str] = MappingProxyType({"soft": "by probability", "by_class": "by class"})
SOURCES: Mapping[str, str] = MappingProxyType(
    {"model": "by the model", "review": "by labels", "drawn": "as outlined"}
)
FOUND: Mapping[str, str] = MappingProxyType(  # before the number of a case
    {"no_viable": "no viable tumour found; reads ", "no_non_viable": "no non-viable tumour found; reads "}
)
REASONS: Mapping[str, str] = MappingProxyType(
    {
        "unreadable": "too much of the tissue is damaged in the file",
        "no_tissue": "no tissue was scored",
        "out_of_domain": "out of domain (tissue unlike the training tiles)",
        "out_of_focus": "too much of the tissue is out of focus",
        "undecided": "the model is undecided on this tissue",
        "no_tumour": "hardly any of the tissue is tumour",
        "too_little_tumour": "too little tumour",
    }
)
SHORT: Mapping[str, str] = MappingProxyType(
    {
        "model_notice": "research demonstration",
        "scenes_left_out": "other images of the file are left out",
        "level_left_out": "a stored level is left out",
        "colours_contradict": "the file contradicts itself on colours",
        "pixel_size_doubtful": "doubtful pixel size",
        "ood_not_recognised": "unlike tissue is not recognised",
        "pixel_size_source": "uncertain pixel size",
        "ood_tissue": "some tissue unlike the training tiles",
        "focus": "out of focus",
        "jpeg_blocks": "compressed too strongly",
        "pixel_size": "unusual size of nuclei",
        "stain_strength": "unusual strength of stain",
        "pale_tissue": "pale tissue",
        "dense_tissue": "very dense tissue",
        "glass_brightness": "unusual brightness",
        "white_balance_red": "unusual red",
        "white_balance_blue": "unusual blue",
        "unreadable_cells": "unreadable cells",
        "export_failed": "a file could not be written",
        "estimators_differ": "by class and by probability differ",
        "within_limit_of_blank": "within the limit of blank",
        "within_limit_of_full": "within the limit of full",
        "undecided": "undecided",
    }
)


def percent_text(result: Mapping[str, Any]) -> str:
    """Percent viable in words: the number, that there is none of one kind, or why it is not evaluable.

    Parameters
    ----------
    result : mapping
        The content of `result.json`.

    Examples
    --------
    >>> percent_text({"status": "scored", "finding": None, "percent_viable": 41.66})
    '41.7 % viable'
    >>> percent_text({"status": "scored", "finding": "no_viable", "limit_of_blank": {"limit": 37.9}})
    'none found (limit of blank 38 %)'
    """
    if result["status"] != "scored":
        return f"not evaluable: {REASONS[result['reason']]}"
    if result["finding"] == "no_viable":
        return f"none found ({_limit_of_blank(result['limit_of_blank'])})"
    if result["finding"] == "no_non_viable":
        return "no non-viable tumour found"
    bed = " of the tumour bed" if result.get("policy") == "tumour_bed" else ""
    return f"{result['percent_viable']:.1f} % viable{bed}"


def estimators_text(result: Mapping[str, Any]) -> str:
    """How the number of a scored slide was found, and what the other estimator finds: words to follow the number.

    Examples
    --------
    >>> result = {"estimator": "by_class", "percent_viable_soft": 26.04, "percent_viable_by_class": 6.0}
    >>> estimators_text(result)
    'by class; 26.0 % by probability'
    """
    leads = result["estimator"]
    other = next(each for each in BY if each != leads)
    return f"{BY[leads]}; {result[f'percent_viable_{other}']:.1f} % {BY[other]}"


def limit_of_blank_text(limit: Mapping[str, Any] | None) -> str:
    """What the model reads where no tumour is viable, in one sentence; `limit` as in `result.json`.

    Examples
    --------
    >>> limit_of_blank_text({"mean": 21.2, "limit": 37.9, "cases": 2})
    'on cases without viable tumour this model reads 21 % (2 cases); up to 38 % cannot be told from none'
    """
    if limit is None:
        return "what this model reads on cases without viable tumour is not known"
    return (
        f"on cases without viable tumour this model reads {limit['mean']:.0f} % ({limit['cases']} cases); up to "
        f"{limit['limit']:.0f} % cannot be told from none"
    )


def limit_of_full_text(limit: Mapping[str, Any] | None) -> str:
    """What the model reads where all tumour is viable, in one sentence; `limit` as in `result.json`.

    Examples
    --------
    >>> limit_of_full_text({"mean": 88.1, "limit": 70.2, "cases": 2})
    'on cases whose tumour is all viable this model reads 88 % (2 cases); 70 % and more cannot be told from all'
    """
    if limit is None:
        return "what this model reads on cases whose tumour is all viable is not known"
    return (
        f"on cases whose tumour is all viable this model reads {limit['mean']:.0f} % ({limit['cases']} cases); "
        f"{limit['limit']:.0f} % and more cannot be told from all"
    )


def interval_text(result: Mapping[str, Any]) -> str:
    """The interval with its confidence, its target and what it leaves out, or why there is none.

    Examples
    --------
    >>> interval_text({"interval": None, "interval_reason": "interval: not available (too little tissue)"})
    'not available (too little tissue)'
    """
    found = result["interval"]
    if found is None:
        return str(result["interval_reason"]).removeprefix("interval: ")
    of = "" if found["covers_classifier"] else "of sampling alone, without classifier error: "
    return f"{of}{found['low']:.1f} to {found['high']:.1f} % ({100 * found['confidence']:g} %, {found['target']})"


def class_areas(result: Mapping[str, Any]) -> dict[str, float]:
    """Area of each class in mm2 by the leading estimator, in the order of `classes.CLASSES`."""
    return {name: result[f"{name}_mm2"] for name in CLASSES}


def out_of_domain_text(result: Mapping[str, Any]) -> str:
    """How much of the tissue is unlike the training tiles; empty where the model cannot tell, or there is no tissue.

    Examples
    --------
    >>> mm2 = {"abstained": 1.0, "non_tumour_by_class": 3.0, "non_viable_by_class": 4.0, "viable_by_class": 2.0}
    >>> out_of_domain_text({"ood_mm2": 0.5, "ledger": {"mm2": mm2}, "warnings": []})
    'Out of domain (unlike the training tiles): 5 % of the tissue'
    """
    mm2 = result["ledger"]["mm2"]
    tissue = mm2["abstained"] + sum(mm2[f"{name}_by_class"] for name in CLASSES)
    if not tissue or any(each["code"] == "ood_not_recognised" for each in result["warnings"]):
        return ""
    share = share_text(100 * result["ood_mm2"] / tissue) if result["ood_mm2"] else "0 %"
    return f"Out of domain (unlike the training tiles): {share} of the tissue"


def share_text(percent: float) -> str:
    """A share in percent without decimals.

    Examples
    --------
    >>> share_text(0.2), share_text(12.6)
    ('less than 1 %', '13 %')
    """
    return f"{percent:.0f} %" if percent >= 1 else "less than 1 %"


def mm2_text(area: float) -> str:
    """An area in mm2 without its unit.

    Examples
    --------
    >>> mm2_text(12.345), mm2_text(0.0123), mm2_text(0.0001), mm2_text(0.0)
    ('12.35', '0.012', '< 0.001', '0.00')
    """
    if 0 < area < 0.001:
        return "< 0.001"
    return f"{area:.2f}" if area >= 1 or area == 0 else f"{area:.3f}"


def warning_lines(result: Mapping[str, Any]) -> list[str]:
    """Each warning with its code.

    Examples
    --------
    >>> warning_lines({"warnings": [{"code": "undecided", "text": "the model is undecided"}]})
    ['warning (undecided): the model is undecided']
    """
    return [f"warning ({each['code']}): {each['text']}" for each in result["warnings"]]


def short_warnings(result: Mapping[str, Any]) -> str:
    """All warnings but the model's own notice in a few words; empty where there are none.

    Examples
    --------
    >>> short_warnings({"warnings": [{"code": "undecided", "text": "the model is undecided"}]})
    'Warnings: undecided'
    """
    said = [SHORT[each["code"]] for each in result["warnings"] if each["code"] != "model_notice"]
    return f"Warnings: {'; '.join(said)}" if said else ""


def _limit_of_blank(limit: Mapping[str, Any] | None) -> str:
    return "limit of blank not known" if limit is None else f"limit of blank {limit['limit']:.0f} %"
