"""Devices on which a test runs: the processor everywhere, a GPU where there is one."""

from __future__ import annotations

import pytest
import torch

_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
)
DEVICES = ["cpu", pytest.param("cuda", marks=_MARKS)]


def needs_gpu(test: object) -> object:
    """Mark a test as one for a GPU alone, and skip it where there is none."""
    for mark in _MARKS:
        test = mark(test)
    return test
