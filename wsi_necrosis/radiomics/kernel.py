"""How the kernels of the compiled engine are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

EPSILON = 2.0**-52  # inside logarithms and divisors, as in pyradiomics


def compiled(function: F) -> F:
    """Compile a function of arrays and numbers with numba, on its first call.

    It releases the interpreter's lock, so that blocks in threads do not wait for one another, and its
    machine code is kept beside the module (or in the user's cache where that is read-only). The cache
    follows the function's own file: a kernel calls no kernel of another file.
    """
    return cast(F, numba.njit(nogil=True, cache=True, error_model="numpy")(function))


def compiled_sum(function: F) -> F:
    """As `compiled`, and sums may be taken in any order: several at once, several times as fast.

    The order is fixed when the kernel is compiled, so that one processor gives one answer.
    """
    decorate = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "nsz"})
    return cast(F, decorate(function))
