"""Cases as text: their numbers from each source below one another, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from wsi_necrosis.quantify.sentences import FOUND, SOURCES

WIDE = 19


def describe_cases(cases: Sequence[Mapping[str, Any]]) -> str:
    """The content of `cases.json` for the terminal."""
    return "\n\n".join("\n".join(_lines(case)) for case in cases)


def _lines(case: Mapping[str, Any]) -> Iterator[str]:
    yield f"case {case['case']}" if case["case"] else "case (all slides)"
    for number in case["numbers"]:
        yield _line(SOURCES[number["source"]], _percent(number))
        yield from (_line("", said) for said in _details(number))
    yield from dict.fromkeys(f"  {text}" for number in case["numbers"] for text in _missing(number))
    yield from _definitions(case["numbers"])


def _definitions(numbers: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What each number is of; a text that holds for all of them stands once."""
    of: dict[str, dict[str, list[str]]] = {}
    for number in numbers:
        for name, text in number["definition"].items():
            titles = of.setdefault(name, {}).setdefault(text, [])
            titles.extend({SOURCES[number["source"]]} - set(titles))
    for name, texts in of.items():
        for text, titles in texts.items():
            whose = f" ({', '.join(titles)})" if len(texts) > 1 else ""
            yield f"  {name}{whose}: {text}"


def _percent(number: Mapping[str, Any]) -> str:
    if number["percent_viable"] is None:
        return f"not evaluable: {number['reason']}"
    interval = number["interval"]
    if interval is None:
        known = f"; {number['interval_reason']}"
    elif interval["covers_classifier"]:
        known = f" ({_interval(interval)})"
    else:
        known = "; interval: not available (classifier error unknown for this site)"
    rest = (
        f", necrosis {number['percent_necrosis']:.1f} %, other tissue {number['percent_non_tumour']:.1f} % of the bed"
        if number["percent_non_tumour"] is not None
        else ""
    )
    found = FOUND.get(number["finding"], "")
    return f"{found}{number['percent_viable']:.1f} % viable{rest}{known}"


def _interval(interval: Mapping[str, Any]) -> str:
    ends = f"{interval['low']:.1f} to {interval['high']:.1f} %"
    return f"{100 * interval['confidence']:g} % interval {ends}, {interval['target']}"


def _details(number: Mapping[str, Any]) -> Iterator[str]:
    count = len(number["counted"])
    if number["tumour_mm2"] is not None:
        unweighted = number["percent_viable_unweighted"]
        mean = "" if unweighted is None else f", mean of the slides {unweighted:.1f} %"
        focus = number["largest_focus_mm"]
        extent = "" if focus is None else f", largest viable focus {focus:.2f} mm"
        yield f"{count} slide{'' if count == 1 else 's'}, tumour {number['tumour_mm2']:.2f} mm2{mean}{extent}"
    if number["interval"] is not None and not number["interval"]["covers_classifier"]:
        yield f"of sampling alone: {_interval(number['interval'])}"
    if number["source"] == "model" and number["percent_viable"] is not None:
        for name in ("limit_of_blank", "limit_of_full"):
            known = "not known" if number[name] is None else f"{number[name]['limit']:.0f} %"
            yield f"{name.replace('_', ' ')} {known}"
    for scheme, grade in number["grades"].items():
        chances = grade["probabilities"] or {}
        likely = ", ".join(f"{name} {100 * share:.0f} %" for name, share in chances.items())
        yield f"{scheme}: {grade['grade'] or grade['reason']}" + (f" ({likely})" if likely else "")


def _missing(number: Mapping[str, Any]) -> Iterator[str]:
    title = SOURCES[number["source"]]
    if number["incomplete"]:
        yield f"incomplete ({title}): " + "; ".join(
            f"{name}: {reason}" for name, reason in number["incomplete"].items()
        )
    if number["left_out"]:
        yield "left out by role: " + ", ".join(
            f"{name} ({role})" for name, role in number["left_out"].items()
        )


def _line(name: str, said: str) -> str:
    return f"  {name:<{WIDE}}{said}"
