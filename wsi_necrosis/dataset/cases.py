"""Names of cases: one patient is written in one way."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from wsi_necrosis.dataset.faults import plainly
from wsi_necrosis.errors import DatasetError

PART = re.compile(
    r"\d+|[^\W\d_]+|[^\w\s-]"
)  # a number, a word, or a sign that is no blank, dash or underscore


def spelling(case: str) -> tuple[str, ...]:
    """The parts of a case's name that tell patients apart, whatever its capitals, blanks, dashes and leading zeros.

    Examples
    --------
    >>> spelling("Case-03") == spelling("case 3") == spelling("CASE_3")
    True
    >>> spelling("1-1") == spelling("11")
    False
    """
    parts = PART.findall(unicodedata.normalize("NFKC", case).casefold())
    return tuple(part.lstrip("0") or "0" if part.isdigit() else part for part in parts)


def refuse_two_spellings(cases: Iterable[str], source: object) -> None:
    """Refuse cases whose names differ only in their spelling: they are one patient, or the names are too alike.

    Raises
    ------
    DatasetError
        There are such; all spellings are named.
    """
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for case in cases:
        found[spelling(case)].add(case)
    doubled = [
        " and ".join(map(repr, names)) for names in sorted(map(sorted, found.values())) if len(names) > 1
    ]
    if doubled:
        raise DatasetError(
            f"{source} writes cases in more than one way: {plainly(doubled)}; write each patient's name in one way, "
            "as these would count as different patients"
        )
