"""Percent viable on a line from 0 to 100: the number, its interval, and what cannot be told from either end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scale:
    """Positions in percent; None where not known or not there.

    Attributes
    ----------
    number : float or None
        Percent viable.
    low, high : float or None
        Ends of its interval, where it covers classifier error.
    blank, full : float or None
        Up to here nothing can be told from none, and from here on nothing from all.
    """

    number: float | None
    low: float | None
    high: float | None
    blank: float | None
    full: float | None

    @property
    def alt(self) -> str:
        """The same in words."""
        said = "no number" if self.number is None else f"{self.number:.1f} percent viable"
        if self.low is not None and self.high is not None:
            said += f", interval {self.low:.1f} to {self.high:.1f}"
        if self.blank is not None:
            said += f"; up to {self.blank:.0f} cannot be told from none"
        if self.full is not None:
            said += f"; from {self.full:.0f} cannot be told from all"
        return said


def whole_interval(number: Mapping[str, Any]) -> Mapping[str, Any]:
    """The interval of a slide's or case's number where it covers classifier error, too; else nothing.

    An interval of sampling alone is given in words, and never drawn beside the number as if it were all doubt.
    """
    found = number["interval"] or {}
    return found if found.get("covers_classifier") else {}


def scale_of(result: Mapping[str, Any]) -> Scale:
    """The scale of a slide's result.

    Examples
    --------
    >>> found = {"percent_viable": 41.7, "interval": None, "limit_of_blank": None, "limit_of_full": {"limit": 70}}
    >>> scale_of({**found, "status": "scored"}).alt
    '41.7 percent viable; from 70 cannot be told from all'
    """
    interval, scored = whole_interval(result), result["status"] == "scored"
    return Scale(
        result["percent_viable"] if scored else None,
        interval.get("low"),
        interval.get("high"),
        (result["limit_of_blank"] or {}).get("limit"),
        (result["limit_of_full"] or {}).get("limit"),
    )
