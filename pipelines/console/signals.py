"""Interrupt a command by Ctrl-C or SIGTERM so that its finished work is kept."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from wsi_necrosis.errors import InterruptedRunError


@contextmanager
def interruptible(kept: str = "finished blocks are kept, the same command resumes") -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an `InterruptedRunError` of the main thread; `kept` is what the message says."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # further signals are ignored while the running blocks finish
        raise InterruptedRunError(f"stopped by {signal.Signals(number).name}; {kept}")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except InterruptedRunError:
        raise  # the process ends now; a second signal must not interrupt that
    except BaseException:
        _restore(before)
        raise
    _restore(before)


def _restore(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
