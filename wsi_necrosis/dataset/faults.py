"""Errors that list all faults of one kind."""

from __future__ import annotations

from collections.abc import Iterable

from wsi_necrosis.errors import DatasetError

SHOWN = 5
LONGEST = 200  # characters of an item; of a longer one both ends are shown


def listed(names: Iterable[str]) -> str:
    """Up to five names, sorted and quoted, and how many more there are."""
    return plainly(map(repr, sorted(names)))


def plainly(items: Iterable[str]) -> str:
    """Up to five items as they are, long ones without their middle, and how many more there are."""
    all_items = list(items)
    shown = (
        item if len(item) <= LONGEST else f"{item[: LONGEST // 2]}...{item[-LONGEST // 2 :]}"
        for item in all_items[:SHOWN]
    )
    more = f" and {len(all_items) - SHOWN} more" if len(all_items) > SHOWN else ""
    return ", ".join(shown) + more


def refuse(names: Iterable[str], fact: str, way_out: str) -> None:
    """Raise an error that lists these names; do nothing where there are none.

    Parameters
    ----------
    names : iterable of str
        Names of the items at fault.
    fact : str
        What is wrong; the names follow it.
    way_out : str
        What to do.

    Raises
    ------
    DatasetError
        There are names.
    """
    found = list(names)
    if found:
        raise DatasetError(f"{fact} {listed(found)}; {way_out}")
