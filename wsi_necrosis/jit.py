"""How loops over pixels are compiled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar, cast

import numba

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., object])

EPSILON = 2.0**-52  # inside logarithms and divisors, as in pyradiomics


def compiled(function: F) -> F:
    """Compile a function of arrays and numbers with numba, on its first call.

    It releases the interpreter's lock, so that blocks in threads do not wait for one another, and its
    machine code is kept beside the module, in the user's cache where that is read-only, and nowhere
    where that is too. The cache follows the function's own file: a kernel calls no kernel of another file,
    and whoever changes this one removes the caches (`*.nbi`).
    """
    return cast(F, _compiled(function))


def compiled_sum(function: F) -> F:
    """As `compiled`, and sums may be taken in any order: several at once, several times as fast.

    The order is fixed when the kernel is compiled, so that one processor gives one answer.
    """
    return cast(F, _compiled(function, fastmath={"reassoc", "nsz"}))


def _compiled(function: Callable[..., object], **options: Any) -> Any:
    try:
        return numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        _say_that_nothing_is_kept()
        return numba.njit(nogil=True, error_model="numpy", **options)(function)


@cache
def _say_that_nothing_is_kept() -> None:
    """Once, not for every kernel."""
    log.warning(
        "loops over pixels are compiled anew in every process; set NUMBA_CACHE_DIR to a writable folder"
    )
