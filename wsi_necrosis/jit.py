"""Compile loops over pixels with numba."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from wsi_necrosis.files import others_may_write

log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., object])

EPSILON = 2.0**-52  # inside logarithms and divisors, as in pyradiomics


def compiled(function: F) -> F:
    """Compile a function of arrays and numbers with numba, on its first call.

    It releases the interpreter's lock (GIL), so that threads score blocks in parallel. numba caches the
    machine code beside the module, or in the user's cache folder where the module's is read-only, or not
    at all where neither can be written. Who may write there could run code in this process, so that a cache
    which other users may write to, while they may not change the module, is not used. It compiles anew only
    when the function's own file changes: so a kernel calls no kernel of another file, and after a change of
    this file the caches (`*.nbi`) must be deleted.
    """
    return cast(F, _compiled(function))


def compiled_sum(function: F) -> F:
    """As `compiled`, with sums in any order, so that vector instructions make them several times as fast.

    The order is fixed when the kernel is compiled, so that results repeat exactly on one processor.
    """
    return cast(F, _compiled(function, fastmath={"reassoc", "nsz"}))


def _compiled(function: Callable[..., object], **options: Any) -> Any:
    try:
        kernel = numba.njit(nogil=True, cache=True, error_model="numpy", **options)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        _warn_of_no_cache("numba finds no cache folder that it may write to")
    else:
        place = Path(kernel.stats.cache_path)
        source = Path(inspect.getfile(function)).parent
        if not others_may_write(place) or others_may_write(source):
            return kernel
        _warn_of_no_cache(f"other users may write to numba's cache {place}, which is not used")
    return numba.njit(nogil=True, error_model="numpy", **options)(function)


@cache
def _warn_of_no_cache(reason: str) -> None:
    """Warn once per process and folder, not for every kernel."""
    log.warning(
        "%s: loops over pixels are compiled anew in every process; set NUMBA_CACHE_DIR to a folder of your own",
        reason,
    )
