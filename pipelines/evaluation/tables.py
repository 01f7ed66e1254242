"""Tables and figures in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def pm(value: Mapping[str, float] | None, digits: int) -> str:
    """A mean and its spread; "-" where it is not defined."""
    return "-" if value is None else f"{value['mean']:.{digits}f} +- {value['sd']:.{digits}f}"


def percent(value: float | None) -> str:
    """Percent viable of labels; "no tumour" where there is none."""
    return "no tumour" if value is None else f"{value:.0f} %"


def mean_percent(value: Mapping[str, float] | None) -> str:
    """A mean in percent; "-" where it is not defined."""
    return "-" if value is None else f"{value['mean']:.1f} %"
