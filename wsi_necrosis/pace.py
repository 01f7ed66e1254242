"""Log how far a long loop is, and how long it will take."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
FIRST_S, EVERY_S = 5.0, 20.0  # seconds until the first line, and between the others
log = logging.getLogger(__name__)


def paced(
    items: Iterable[T], total: int, what: str, clock: Callable[[], float] = time.monotonic
) -> Iterator[T]:
    """The items of a loop, one after another; how many are done is logged now and then, with the time that is left.

    A loop that takes less than a few seconds logs nothing.

    Parameters
    ----------
    items : iterable
        What is made on the way, such as the results of a pool of threads.
    total : int
        How many there are.
    what : str
        Their name, such as "fits".

    Examples
    --------
    >>> list(paced("ab", 2, "letters"))
    ['a', 'b']
    """
    start = clock()
    due = start + FIRST_S
    for done, item in enumerate(items, 1):
        now = clock()
        if now >= due and done < total:
            log.info(
                "%s: %d of %d, about %s left",
                what,
                done,
                total,
                spoken((now - start) * (total - done) / done),
            )
            due = now + EVERY_S
        yield item


def spoken(seconds: float) -> str:
    """A duration in words.

    Examples
    --------
    >>> spoken(42), spoken(100), spoken(9000)
    ('42 s', '2 minutes', '2.5 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
